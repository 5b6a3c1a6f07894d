"""The simulation detects each rule that is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation import broken_rules, directed_histories
from tests.simulation.history import play

SEEDS_MAX, STEPS_MAX = 2_000, 4_000
Broken = Callable[[pytest.MonkeyPatch], None]
BY_CHANCE: list[Broken] = [
    broken_rules.commit_the_position,
    broken_rules.treat_offsets_as_counts,
    broken_rules.do_not_count_what_is_deleted,
    broken_rules.do_not_hold_ticks,
    broken_rules.hold_only_the_last_tick,
    broken_rules.start_without_any_checkpoint,
    broken_rules.start_without_the_tail,
    broken_rules.never_write_frontiers,
    broken_rules.take_the_tail_for_covered,
    broken_rules.judge_by_the_bound_of_the_session,
    broken_rules.tick_beyond_the_limit,
    broken_rules.let_a_fast_clock_raise_the_watermark,
    broken_rules.take_the_newest_evidence,
    broken_rules.keep_identities_until_emission,
    broken_rules.forget_identities_at_once,
    broken_rules.commit_before_the_outputs,
    broken_rules.count_quotas_by_append_time,
    broken_rules.start_each_process_without_usage,
    broken_rules.restart_without_counting_open_sessions,
    broken_rules.never_write_generations,
    broken_rules.close_old_generations_before_their_reset_is_read,
    broken_rules.let_a_reset_act_on_all_logs,
    broken_rules.predict_again_what_is_published,
    broken_rules.start_folds_from_nothing,
    broken_rules.never_look_back,
]
DIRECTED: list[tuple[Broken, Callable[[], list[str]]]] = [
    (
        broken_rules.forget_by_append_times_alone,
        directed_histories.the_brokers_clock_is_ahead_for_one_record_of_each_log,
    ),
    (
        broken_rules.count_open_sessions_since_the_newest_append_time,
        directed_histories.the_brokers_clock_was_ahead_when_a_source_began,
    ),
    (
        broken_rules.cover_only_the_old_where_every_floor_is_the_end,
        directed_histories.all_is_read_and_we_are_down_for_long,
    ),
    (broken_rules.share_one_frontier_key, directed_histories.a_paused_owner_writes_its_frontier_last),
    (
        broken_rules.publish_windows_before_rejections,
        directed_histories.a_conflict_stands_in_the_batch_that_closes_its_window,
    ),
]


@pytest.mark.parametrize("broken", BY_CHANCE, ids=lambda broken: broken.__name__)
def test_random_histories_detect_a_broken_rule(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    for seed in range(SEEDS_MAX):
        if play(seed, zombies=seed % 2 == 1, steps_max=STEPS_MAX).problems:
            return
    raise AssertionError(f"{broken.__name__} was not detected in {SEEDS_MAX} histories")


@pytest.mark.parametrize(("broken", "history"), DIRECTED, ids=lambda each: each.__name__)
def test_a_directed_history_detects_a_rule_that_rarely_matters(
    broken: Broken, history: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history() == []
    broken(monkeypatch)
    assert history() != []
