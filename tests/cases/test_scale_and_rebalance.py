"""Scale and rebalances: a backlog of an hour, two owners, two cameras, 10,000 sessions. Cases 4, 7, 11 and 12; times in ms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.aligner.idleness import DUE_MAX, FOREVER_US
from services.aligner.partition import Partition
from services.contract import window
from tests.cases.devices import Sent, frames, sound, texts
from tests.cases.outcome import MODALITIES
from tests.cases.scene import Scene

pytestmark = pytest.mark.slow

HOUR, MINUTE = 3_600_000, 60_000


def bytes_of(scene: Scene) -> list[bytes]:
    """Return the final windows as they are in the topic."""
    return [window.encode(final) for final in scene.finals(None)]


def in_step(scene: Scene, reader: Partition) -> None:
    """Read all logs in small steps, as the service does."""
    while reader.positions != scene.ends():
        scene.now_ms += 1
        scene.process_batch(reader, {m: at + 200 for m, at in reader.positions.items()})


def one_log_after_the_other(scene: Scene, reader: Partition) -> None:
    for modality in MODALITIES:
        scene.now_ms += 5_000  # longer than any idle timeout
        scene.process_batch(reader, {modality: scene.ends()[modality]})


@pytest.fixture(scope="module")
def live() -> Scene:
    """An hour read live: a minute without video, a text every 7 s, a copy and a late frame every minute."""
    video = frames(0, 10 * MINUTE, 500) + frames(11 * MINUTE, HOUR, 500)
    copies_and_stragglers = [Sent(m + 100, "video", m, id="copied") for m in range(0, HOUR, MINUTE) for _ in "ab"]
    copies_and_stragglers += [
        Sent(m + 5_000, "video", m + behind) for m in range(0, HOUR, MINUTE) for behind in (3_333, 1_111)
    ]
    plan = sound(0, HOUR) + video + texts(range(0, HOUR, 7_000)) + copies_and_stragglers
    return Scene().play((replace(sent, session="avt") for sent in plan), until=HOUR + MINUTE)


# live     r r r r r r r r r r r r r r r r r r r r   each record when it arrives, ticks when they are due
# backlog                                         R  the same logs, all at once, in any steps
#          0                                   1 h
@pytest.mark.parametrize("read", [in_step, one_log_after_the_other])
def test_case_04_a_backlog_of_an_hour_read_at_full_speed_gives_the_same_final_windows_as_live(
    live: Scene, read: Callable[[Scene, Partition], None]
) -> None:
    backlog = Scene()
    backlog.logs, backlog.now_ms = {m: list(log) for m, log in live.logs.items()}, live.now_ms + HOUR
    read(backlog, backlog.owner)
    assert backlog.ends() == live.ends()  # no tick was added, although logs were waited for
    assert len(live.starts("avt")) == HOUR // 500 + 3
    assert bytes_of(backlog) == bytes_of(live)
    assert backlog.fate_of == live.fate_of
    assert {live.mask(start, "video", "avt") for start in range(603_500, 657_001, 500)} == {("unknown", "tick")}
    fates = live.fates("video")
    assert (fates.count("late"), fates.count("duplicate")) == (60, 60)
    assert backlog.commit_offsets() == backlog.ends()


def test_case_04_live_equals_the_oracle(live: Scene) -> None:
    assert live.outcome() == live.oracle_outcome()


# live     r r r r r r r r r r ...          no stream is silent: no tick is needed
# backlog  not read . . . . . . . . . . R   the logs hold only what the devices sent
def test_case_04_a_backlog_without_idle_records_gives_the_same_final_windows_as_live() -> None:
    plan = sound(0, 10 * MINUTE) + frames(0, 10 * MINUTE)
    live, backlog = Scene().play(plan), Scene()
    backlog.append_unread(plan, until=HOUR)
    in_step(backlog, backlog.owner)
    assert live.ticks("audio") + live.ticks("video") + backlog.ticks("audio") + backlog.ticks("video") == []
    assert live.starts() == list(range(-1_500, 10 * MINUTE - 2_999, 500))
    assert bytes_of(backlog) == bytes_of(live)


# audio   [==)[==)[==)[==)[==)[==)[==)[==)       open at 5100: [3000..5000) ... [5000..7000)
# video   x x x x x x x x x x x x x x x x x
# owners  first owner ...|5100 the second owner continues at the first members of [3000..5000)
def test_case_07_rebalance_in_the_middle_of_a_window() -> None:
    plan = sound(0, 10_000) + frames(0, 10_000)
    undisturbed = Scene().play(plan, until=20_000)
    scene = Scene().play(sent for sent in plan if sent.at <= 5_100)
    assert scene.starts()[-1] == 2_500
    scene.commit()
    read = scene.owner.positions
    scene.restart()
    assert read == {"text": 0, "video": 21, "audio": 10}
    assert scene.owner.positions == {"text": 0, "video": 12, "audio": 6}  # x(3000) and [3000..3500)
    scene.play((sent for sent in plan if sent.at > 5_100), until=20_000)
    assert scene.members(4_500, "video") == [f"{t}" for t in range(4_500, 6_500, 250)]
    assert scene.members(4_500, "audio") == ["4500", "5000", "5500", "6000"]
    assert scene.starts() == undisturbed.starts() == list(range(-1_500, 9_501, 500))
    assert bytes_of(scene)[:20] == bytes_of(undisturbed)[:20]  # up to here no stream was silent
    assert set(scene.fate_of.values()) == {"windowed"}
    assert scene.outcome() == scene.oracle_outcome()


# audio and video stop at 5000: ticks close what is open, step by step, until 8000; a new owner starts at any of these times
@pytest.mark.parametrize("commits", [True, False], ids=["offsets committed", "nothing committed"])
def test_case_07_rebalance_between_the_ticks_of_a_window(commits: bool) -> None:
    replayed_ticks = 0
    for at in range(5_000, 8_501, 100):
        scene = Scene().play(sound(0, 5_000), frames(0, 5_000), until=at)
        if commits:
            scene.commit()
        scene.restart()
        again = (scene.logs[m][offset:] for m, offset in scene.owner.positions.items())
        replayed_ticks += any(record.key is None for log in again for record in log)
        scene.process_all()
        scene.wait(20_000)
        assert scene.starts() == list(range(-1_500, 4_501, 500))
        assert not scene.owner.aligner.sessions
        assert scene.commit_offsets() == scene.ends()
        assert scene.outcome() == scene.oracle_outcome()
    assert replayed_ticks > 20


# video   x x x x x x x . . . . . . . x x x x x     silent from 4000 to 9000: ticks of either owner close what is open
# owners  old ...|5100 paused.....|7000 resumes ...|8300 ends
#                |5100 new .................................................
def test_case_07_rebalance_while_the_old_owner_is_still_writing() -> None:
    plan = sound(0, 12_000) + frames(0, 4_000) + frames(9_000, 12_000)
    scene = Scene().play(sent for sent in plan if sent.at <= 5_100)
    scene.commit()
    old = scene.owner
    scene.restart()
    scene.play((sent for sent in plan if 5_100 < sent.at < 7_000), until=7_000)
    assert scene.starts() == list(range(-1_500, 4_001, 500))
    scene.aligners.insert(0, old)
    scene.process_all()
    assert scene.starts() == [*range(-1_500, 4_001, 500), *range(2_500, 4_001, 500)]
    scene.play((sent for sent in plan if 7_000 <= sent.at <= 8_300), until=8_300)
    assert scene.starts()[-4:] == [4_500, 4_500, 5_000, 5_000]
    scene.aligners.remove(old)
    scene.play((sent for sent in plan if sent.at > 8_300), until=20_000)
    assert scene.starts()[16:] == [4_500, 4_500, 5_000, 5_000, *range(5_500, 11_501, 500)]
    assert scene.mask(4_500, "video") == ("unknown", "tick")
    versions = {window.encode(final) for final in scene.finals()}
    assert len(versions) == len(set(scene.starts())) == 27
    assert scene.outcome() == scene.oracle_outcome()


# fast   x x x x x x x x x       each frame at once
# slow         x x x x x x x     the same times, `delay` later; windows close when the faster one is 500 past their end
@pytest.mark.parametrize(
    ("delay", "on_a_hop", "between"), [(500, 4, 4), (750, 4, 3), (1_000, 3, 3), (2_250, 1, 0), (2_500, 0, 0)]
)
def test_case_11_of_two_cameras_the_slower_is_late_once_it_trails_by_more_and_the_faster_is_unharmed(
    delay: int, on_a_hop: int, between: int
) -> None:
    fast, slow = frames(0, 20_000, source="fast"), frames(0, 17_000, source="slow", behind=delay)
    scene = Scene().play(fast, slow, sound(0, 20_000), until=30_000)
    steady = range(3_000, 15_000, 250)
    fits = {t: between if t % 500 else on_a_hop for t in steady}
    assert {t: len(scene.holding(f"{t}", "video", source="slow")) for t in steady} == fits
    assert {len(scene.holding(f"{t}", "video", source="fast")) for t in steady} == {4}
    assert scene.fates("video", "slow")[12:60] == ["windowed" if fits[t] else "late" for t in steady]
    assert set(scene.fates("video", "fast")) == set(scene.fates("audio")) == {"windowed"}
    assert max(scene.closed_at(start) - start for start in range(-1_500, 17_001, 500)) == 2_500
    assert (scene.offsets_ms["fast"], scene.offsets_ms["slow"]) == (0, delay)
    assert scene.outcome() == scene.oracle_outcome()


# slow x(2499.999): its first window [500..2500) closes at 3000
@pytest.mark.parametrize(("bound", "first"), [(2_999.999, 500), (3_000, 1_000)])
def test_case_11_trailing_by_exactly_the_lateness_misses_nothing(bound: float, first: int) -> None:
    cameras = Sent(3_000, "video", bound, source="fast"), Sent(3_000, "video", 2_499.999, source="slow", id="it")
    scene = Scene().play(cameras, until=20_000)
    assert scene.holding("it", "video", source="slow") == list(range(first, 2_001, 500))


# session 0     x                  idle: 3000, then a tick for each log, many sessions in one record
# session 1      x                 four windows each
# session ...     x
# session 9999                x
def test_case_12_ten_thousand_sessions_with_one_chunk_each_are_emitted_and_leave_only_frontiers() -> None:
    scene = Scene()
    for at in range(0, 10_000, 500):
        scene.append_unread(
            (Sent(t, "video", t, session=f"{t}", source=f"{t}") for t in range(at, at + 500)), until=at + 500
        )
        scene.process_all()
    scene.wait(30_000)
    emitted_windows = {(final.session, final.start_us) for final in scene.finals(None)}
    assert len(emitted_windows) == len(scene.finals(None)) == 40_000
    assert {session for session, _ in emitted_windows} == {f"{n}" for n in range(10_000)}
    aligner = scene.owner.aligner
    assert aligner.sessions == {}
    assert len(aligner.last_emitted_us) == 10_000
    assert [held.first() for held in aligner.retained.values()] == [None, None, None]
    assert scene.owner.next_deadline_us() == FOREVER_US
    assert scene.commit_offsets() == scene.ends()
    # At most DUE_MAX sessions share an idle record, in each of three logs; some records are not full.
    assert sum(record.key is None for log in scene.logs.values() for record in log) < 3 * (10_000 // DUE_MAX + 20)
    assert scene.outcome() == scene.oracle_outcome()

    scene.commit()
    assert len(scene.frontiers) == 10_000
    emitted = len(scene.windows)
    scene.restart()
    copies = [Sent(30_000, "video", t, session=f"{t}") for t in (0, 9_999)]
    scene.play(copies, until=60_000)
    assert scene.fates("video")[-2:] == ["late", "late"]
    assert len(scene.windows) == emitted
