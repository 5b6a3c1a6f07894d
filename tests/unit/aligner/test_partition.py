"""Effects of a partition number beyond the cases. Times in ms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.aligner.idleness import FOREVER_US, EndOffsets
from services.aligner.partition import FrontierCoverage, Partition
from services.aligner.recovery import InitialState
from services.contract.dead_letter import Reason
from tests.cases.devices import EPOCH_MS, Sent, record_of
from tests.cases.outcome import MODALITIES, SEMANTICS
from tests.cases.scene import BOOT_US, PATIENCE, TOPICS, Scene


# video of "v"  x(1000)                      idle: 3000, so due at 4000
# text                        (of another session, not read yet when the end offsets are requested)
def test_session_that_waits_for_end_offsets_is_checked_when_more_are_reached() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=3_999)
    scene.append_unread([Sent(3_999, "text", 3_999, session="t")], until=4_000)
    owner, now_us = scene.owner, BOOT_US + 4_000_000
    assert owner.next_deadline_us() == now_us
    assert owner.needs_end_offsets(now_us)
    owner.set_end_offsets(EndOffsets(now_us, scene.ends()))
    assert not owner.process((), now_us).idle_markers
    assert owner.next_deadline_us() == FOREVER_US
    assert not owner.needs_end_offsets(now_us)
    read = [("text", scene.logs["text"][0])]
    assert {silent.session for silent in owner.process(read, now_us).idle_markers} == {"v"}
    assert owner.next_deadline_us() > now_us


# video of "v"  x(1000)  marker              idle: 3000, so due at 4000
def test_end_offset_behind_a_marker_of_a_transaction_is_reached_by_the_position_alone() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=3_999)
    owner, now_us = scene.owner, BOOT_US + 4_000_000
    ends = scene.ends() | {"video": scene.ends()["video"] + 1}
    owner.set_end_offsets(EndOffsets(now_us, ends))
    assert not owner.process((), now_us).idle_markers, "the last offset may be a record"
    assert {silent.session for silent in owner.process((), now_us, positions=ends).idle_markers} == {"v"}
    assert owner.positions == ends


def test_timeout_after_the_request_for_end_offsets_needs_newer_ones() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=3_998)
    owner, asked_us = scene.owner, BOOT_US + 3_999_999
    owner.set_end_offsets(EndOffsets(asked_us, scene.ends()))
    assert not owner.process((), asked_us + 1).idle_markers
    assert owner.needs_end_offsets(asked_us + 1)
    owner.set_end_offsets(EndOffsets(asked_us + 1, scene.ends()))
    assert owner.process((), asked_us + 1).idle_markers


def test_next_deadline_is_the_earlier_of_early_window_and_idle_timeout() -> None:
    scene = Scene()
    scene.append_unread([Sent(1_000, "video", 1_000, session="v")], until=1_000)
    owner = scene.owner
    read = [("video", scene.logs["video"][0])]
    owner.process(read, BOOT_US)
    # The window that ends at 1500, 300 of the session's own clock later; it stands at 1000 now.
    assert owner.next_deadline_us() == BOOT_US + 800_000
    owner.process((), BOOT_US + 2_300_000)
    assert owner.next_deadline_us() == BOOT_US + 3_000_000


def test_early_window_waits_while_the_logs_hold_more_records() -> None:
    scene = Scene()
    scene.append_unread([Sent(1_000, "video", 1_000, session="v")], until=1_000)
    owner = scene.owner
    owner.process([("video", scene.logs["video"][0])], BOOT_US)
    now_us = BOOT_US + 800_000
    assert not owner.process((), now_us, has_more=True).windows
    assert owner.next_deadline_us() <= now_us, "it is still due"
    assert [window.final for window in owner.process((), now_us).windows] == [False]


def test_session_without_open_windows_hides_no_other_of_its_batch() -> None:
    scene = Scene()
    scene.append(Sent(0, "video", 0, session="a", end=True))
    scene.append_unread([Sent(1_000, "video", 1_000, session="v")], until=1_000)
    scene.owner.process([("video", record) for record in scene.logs["video"]], BOOT_US)
    assert scene.owner.next_deadline_us() == BOOT_US + 800_000


DAY_MS, SIZE_MS, GAP_MS = 24 * 3_600_000, 2_000, 10_000


# v       x(1000) its last window starts at 1000 and is out
# logs    ............ a day later: records that are too old for anything, so that nothing is held
# until   1000 + a day + a window + the event gap: then nothing that v's frontier would refuse can come
def test_last_emitted_window_is_forgotten_once_the_slowest_log_is_past_it() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=60_000)
    end = 1_000 + DAY_MS + SIZE_MS + GAP_MS
    owner = scene.owner
    for at in (end, end + 1):
        for modality in MODALITIES:
            scene.commit_offsets()
            assert list(owner.aligner.last_emitted_us) == ["v"]
            scene.play([Sent(at, modality, 0, 500, session="w")])
    assert {fate for _, _, fate, _ in scene.dead} == {"stale"}
    assert [frontier.session for frontier in owner.due_frontiers()] == ["v"]
    assert scene.commit_offsets() == scene.ends()
    assert owner.aligner.last_emitted_us == {}
    assert owner.due_frontiers() == []


# the broker is days ahead; our clock decides, to the microsecond
@pytest.mark.parametrize(("later_us", "remaining"), [(0, ["v"]), (1, [])])
def test_append_times_that_are_ahead_of_our_clock_make_nothing_forgotten(later_us: int, remaining: list[str]) -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=60_000)
    scene.play([Sent(30 * DAY_MS, modality, 0, 500, session="w") for modality in MODALITIES])
    end_us = (EPOCH_MS + 1_000 + DAY_MS + SIZE_MS + GAP_MS) * 1000
    scene.owner.commit_offsets(end_us + later_us)
    assert list(scene.owner.aligner.last_emitted_us) == remaining


def test_window_that_was_appended_before_a_clock_went_back_is_covered_by_the_smaller_time() -> None:
    coverage = FrontierCoverage(10)
    for appended_us in (500, 100, 300):
        coverage.on_window_emitted("s", appended_us)
    assert (coverage.due_sessions([110]), coverage.due_sessions([111])) == ([], ["s"])


def test_nothing_is_forgotten_before_every_log_has_given_a_record() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=60_000)
    scene.play([Sent(30 * DAY_MS, modality, 0, 500, session="w") for modality in ("video", "audio")])
    scene.commit_offsets()
    assert list(scene.owner.aligner.last_emitted_us) == ["v"]


# a log in which something is held counts by that, however far it was read: here a frame of an open window
@pytest.mark.parametrize(("later", "remaining"), [(0, ["v"]), (1, [])])
def test_retained_records_keep_the_last_emitted_windows_that_they_could_concern(
    later: int, remaining: list[str]
) -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=60_000)
    end = 1_000 + DAY_MS + SIZE_MS + GAP_MS
    scene.append_unread([Sent(end + later, "video", end, session="v 2")], until=end + later)
    scene.append_unread([Sent(end + 9, modality, 0, 500, session="w") for modality in MODALITIES], until=end + 9)
    scene.process_batch(scene.owner)
    scene.commit_offsets()
    assert list(scene.owner.aligner.last_emitted_us) == remaining
    assert [frontier.session for frontier in scene.owner.due_frontiers()] == remaining


# v       x(1000) out at 4000     the tail is a minute
# w       a frame that holds the commit offset, 60 s after that or one ms more
@pytest.mark.parametrize(("later", "due"), [(0, []), (1, ["v"])])
def test_frontier_is_due_once_a_window_is_older_than_the_tail_before_retained_records(
    later: int, due: list[str]
) -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=60_000)
    scene.append_unread([Sent(64_000 + later, "video", 64_000, session="v 2")], until=64_000 + later)
    scene.process_batch(scene.owner)
    assert [frontier.session for frontier in scene.owner.due_frontiers()] == due


# video  1000 with the broker at 1150, again at 1200, with other bytes at 1250; another at 1100; one a month old
# audio  500 long, with the broker 40 after its end
def test_batch_counts_each_fate_once_and_has_the_smallest_clock_offset_of_each_source() -> None:
    scene = Scene()
    it = Sent(1_150, "video", 1_000)
    again, other = replace(it, at=1_200), replace(it, at=1_250, content=2)
    old = Sent(1_300, "video", -30 * DAY_MS)
    scene.append_unread([it, again, other, Sent(1_190, "video", 1_100), old], until=1_300)
    scene.append(Sent(1_300, "audio", 760, 500))
    read = [(modality, record) for modality in ("video", "audio") for record in scene.logs[modality]]
    effects = scene.owner.process(read, BOOT_US)
    assert effects.fates == {
        ("video", "windowed"): 2,
        ("video", "duplicate"): 1,
        ("video", "dead"): 2,
        ("audio", "windowed"): 1,
    }
    assert {(m, source): offset_us for (m, source, _), offset_us in effects.clock_offsets_us.items()} == {
        ("video", "d"): 90_000,
        ("audio", "d"): 40_000,
    }
    assert [(letter.stage, letter.rejected.reason) for _, letter in effects.dead] == [
        ("alignment", Reason.CONFLICT),
        ("admission", Reason.STALE),
    ]
    assert len(effects.payloads) == 3
    assert scene.owner.positions == scene.ends()


# a clock 55 s ahead: nothing of it is admitted, and people must see why; a device without a clock is not measured
def test_clock_of_a_source_is_measured_although_its_records_are_rejected_for_it() -> None:
    scene = Scene()
    scene.append(Sent(0, "video", 55_000, source="fast"))
    scene.append(Sent(0, "video", -30 * DAY_MS, source="archive"))
    effects = scene.owner.process([("video", record) for record in scene.logs["video"]], BOOT_US)
    assert [letter.rejected.reason for _, letter in effects.dead] == [Reason.FUTURE, Reason.STALE]
    assert effects.clock_offsets_us == {("video", "fast", EPOCH_MS * 1000 // 30_000_000): -55_000_000}


def test_clock_of_a_source_that_has_none_is_not_measured() -> None:
    config = replace(SEMANTICS, clocks=(("d", "arrival"),))
    state = InitialState(dict.fromkeys(MODALITIES, 0), {}, {}, {})
    partition = Partition(0, 1, config, PATIENCE, TOPICS, 0, state)
    records = [record_of(Sent(0, "audio", 55_000, 500, source=source), n, EPOCH_MS) for n, source in enumerate("de")]
    effects = partition.process([("audio", record) for record in records], BOOT_US)
    assert [source for _, source, _ in effects.clock_offsets_us] == ["e"]
    assert [a.chunk.t_us for a in effects.payloads] == [EPOCH_MS * 1000]
