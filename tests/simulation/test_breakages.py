"""The simulation detects each rule that is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation import broken, directed
from tests.simulation.history import play
from tests.simulation.test_simulation import SEEDS

STEPS_MAX = 4_000
Broken = Callable[[pytest.MonkeyPatch], None]
BY_CHANCE: list[Broken] = [
    broken.commit_the_position,
    broken.do_not_hold_ticks,
    broken.hold_only_the_last_tick,
    broken.start_without_any_checkpoint,
    broken.start_without_the_tail,
    broken.never_write_frontiers,
    broken.take_the_tail_for_covered,
    broken.judge_by_the_bound_of_the_session,
    broken.tick_beyond_the_limit,
    broken.take_the_newest_evidence,
    broken.keep_identities_until_emission,
    broken.forget_identities_at_once,
    broken.commit_before_the_outputs,
    broken.predict_again_what_is_published,
    broken.start_folds_from_nothing,
    broken.never_look_back,
]
DIRECTED: list[tuple[Broken, Callable[[], list[str]]]] = [
    (broken.cover_only_the_old_where_every_floor_is_the_end, directed.all_is_read_and_we_are_down_for_long),
    (broken.share_one_frontier_key, directed.a_paused_owner_writes_its_frontier_last),
    (broken.publish_windows_before_rejections, directed.a_conflict_stands_in_the_batch_that_closes_its_window),
]


@pytest.mark.parametrize("broken", BY_CHANCE, ids=lambda broken: broken.__name__)
def test_random_histories_detect_a_broken_rule(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    for seed in range(SEEDS):
        if play(seed, zombies=seed % 2 == 1, steps_max=STEPS_MAX).problems:
            return
    raise AssertionError(f"{broken.__name__} was not detected in {SEEDS} histories")


@pytest.mark.parametrize(("broken", "history"), DIRECTED, ids=lambda each: each.__name__)
def test_a_directed_history_detects_a_rule_that_rarely_matters(
    broken: Broken, history: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history() == []
    broken(monkeypatch)
    assert history() != []
