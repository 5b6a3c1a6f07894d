"""Silence: a modality stops, a session stops, the aligner pauses. Cases 1, 2, 5, 6 and 15; times in ms."""

from __future__ import annotations

from services.aligner.idleness import FOREVER_US
from tests.cases.devices import Sent, frames, sound, texts
from tests.cases.outcome import MODALITIES
from tests.cases.scene import Scene

PRESENT, ABSENT, UNKNOWN, TICKED = ("present", "data"), ("absent", "data"), ("unknown", "tick"), ("present", "tick")


# audio  [==)[==)[==)[==)[==)[==)[==)[==)[==)[==)[==)[==)
# video  x x x x .  .  .  .  .  .  .  .  x(12200) x x x x
# ticks          4000 4500 ... 11500            each 1000 after audio passed the end of a window
#        0      4000                     12200         20000
def test_case_01_a_modality_that_stops_and_resumes_loses_no_data_and_reopens_no_window() -> None:
    scene = Scene().play(sound(0, 12_000), frames(0, 4_000), until=12_100)
    assert scene.starts() == list(range(-1_500, 9_001, 500))
    assert {scene.closed_at(start) - start for start in range(1_500, 9_001, 500)} == {3_000}
    assert scene.ticks("video") == [(at, at - 500, "tick") for at in range(4_500, 12_001, 500)]

    behind = Sent(12_300, "video", 10_900, id="of an open window"), Sent(12_310, "video", 8_000, id="too late")
    scene.play(sound(12_000, 20_000), frames(12_200, 20_000), behind, until=30_000)
    assert scene.starts() == list(range(-1_500, 19_501, 500))  # each once, in order: none was reopened
    masks = {start: scene.mask(start, "video") for start in scene.starts()}
    assert {masks[start] for start in range(-1_500, 1_001, 500)} == {PRESENT}
    assert {masks[start] for start in range(1_500, 3_501, 500)} == {TICKED}  # its last frames, then a tick
    assert {masks[start] for start in range(4_000, 9_001, 500)} == {UNKNOWN}
    assert scene.holding("of an open window", "video") == [10_000, 10_500]
    assert masks[9_500] == ABSENT  # passed by the frame of 12200
    assert {masks[start] for start in range(10_000, 17_001, 500)} == {PRESENT}
    assert {scene.mask(start, "audio") for start in range(-1_500, 17_501, 500)} == {PRESENT}
    assert scene.holding("12200", "video") == [10_500, 11_000, 11_500, 12_000]
    fates = scene.fates("video")
    assert (fates.count("windowed"), fates.count("late"), len(fates)) == (16 + 32 + 1, 1, 50)
    assert scene.outcome() == scene.oracle_outcome()


# video  x x x x x x x x x x x x x x x x x     audio  [==)[==)[==)[==)[==)[==)
# text       "(5000)                  "(65000)                    "(125000)
# window [--2 s--)......| closed at most 1500 after its end: the idle timeout of text
def test_case_02_a_text_message_once_a_minute_delays_audio_and_video_by_no_more_than_its_idle_timeout() -> None:
    messages = texts([5_000, 65_000, 125_000], session="avt")
    scene = Scene().play(sound(0, 130_000, session="avt"), frames(0, 130_000, session="avt"), messages)
    steady = list(range(-1_500, 126_501, 500))
    assert scene.starts("avt") == steady
    waits = {start: scene.closed_at(start, "avt") - start - 2_000 for start in steady}
    assert max(waits.values()) == 1_500
    # A message closes at once what ends 500 (its lateness) or more before it: that was to wait until 5500 and 6000.
    assert {start: wait for start, wait in waits.items() if wait < 1_500} == {
        start: 5_000 + minute - start - 2_000
        for minute in (0, 60_000, 120_000)
        for start in (minute + 2_000, 2_500 + minute)
    }
    for id in ("5000", "65000", "125000"):
        assert scene.holding(id, "text", "avt") == [int(id) - 1_500, int(id) - 1_000, int(id) - 500, int(id)]
    assert scene.mask(30_000, "text", "avt") == UNKNOWN
    assert {scene.mask(start, m, "avt") for start in steady for m in ("audio", "video")} == {PRESENT}
    scene.wait(140_000)
    assert scene.outcome() == scene.oracle_outcome()


# the logs    audio [==)[==)[==)[==)[==)[==)[==)[==)        video  x x x x x .....30000  40000..... x x x x x
# the aligner read read |............ paused ............| awake at 70000: audio fetched, video not; then in parts
#                       10000                            70000
def test_case_05_an_aligner_that_pauses_60_s_writes_no_idle_record_for_data_that_was_in_the_log() -> None:
    plan = sound(0, 90_000) + frames(0, 30_000) + frames(40_000, 90_000)
    scene = Scene().play(sent for sent in plan if sent.at <= 10_000)
    scene.append_unread((sent for sent in plan if 10_000 < sent.at <= 70_000), until=70_000)
    owner = scene.owner
    scene.process_batch(owner, {})  # the timers are due before any record is fetched
    for now_ms in range(70_000, 80_001, 100):
        scene.append_unread(
            (sent for sent in plan if now_ms - 100 < sent.at <= now_ms and now_ms > 70_000), until=now_ms
        )
        # All audio at once; frames follow 5 s later, when by the clock of the aligner audio passed all windows long ago.
        frames_read = owner.positions["video"] + (7 if now_ms > 75_000 else 0)
        scene.process_batch(owner, {"audio": scene.ends()["audio"], "video": frames_read})
    assert owner.positions == scene.ends()
    assert (scene.ticks("audio"), scene.ticks("video")) == ([], [])

    scene.play((sent for sent in plan if sent.at > 80_000), until=95_000)
    assert set(scene.fates("video")) == set(scene.fates("audio")) == {"windowed"}
    assert scene.starts() == list(range(-1_500, 89_501, 500))
    masks = {start: scene.mask(start, "video") for start in scene.starts()}
    assert {masks[start] for start in range(30_000, 38_001, 500)} == {
        ABSENT
    }  # data passed the windows: none is unknown
    assert {masks[start] for start in [*range(-1_500, 29_501, 500), *range(38_500, 85_001, 500)]} == {PRESENT}
    assert scene.outcome() == scene.oracle_outcome()


# video   x(1000)  and nothing else, ever            idle: 3000
# windows [-500) [0) [500) [1000..3000)  all emitted at 4000, by one tick in each log, up to the newest and no further
def test_case_06_the_last_window_of_a_session_comes_out_without_a_further_record() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000)], until=3_999)
    assert scene.starts() == []
    scene.wait(60_000)
    assert {start: scene.closed_at(start) for start in scene.starts()} == dict.fromkeys([-500, 0, 500, 1_000], 4_000)
    assert (scene.ticks("video"), scene.ticks("audio")) == ([(4_000, 3_500, "tick")], [(4_000, 3_300, "tick")])
    assert (scene.mask(1_000, "video"), scene.mask(1_000, "audio")) == (TICKED, UNKNOWN)
    assert not scene.owner.aligner.sessions
    assert scene.owner.next_deadline_us() == FOREVER_US
    assert scene.commit_offsets() == scene.ends()
    assert scene.outcome() == scene.oracle_outcome()


# video   x(1000) END(1100)      the aligner does not wait for a source that has ended
# audio   [====) END(1200)
def test_case_06_the_last_window_of_a_session_that_ended_comes_out_at_once() -> None:
    ends = Sent(1_100, "video", 1_100, end=True), Sent(1_200, "audio", 1_200, end=True)
    scene = Scene().play([Sent(1_000, "video", 1_000)], sound(500, 1_000), ends)
    assert {start: scene.closed_at(start) for start in scene.starts()} == dict.fromkeys(
        range(-1_000, 1_001, 500), 1_200
    )
    assert (scene.ticks("video"), scene.ticks("audio")) == ([(1_100, 3_500, "end")], [(1_200, 3_300, "end")])
    assert (scene.mask(1_000, "video"), scene.mask(1_000, "audio")) == (("present", "end"), ("absent", "end"))
    assert not scene.owner.aligner.sessions
    assert scene.outcome() == scene.oracle_outcome()


# ten busy sessions  ||||||||||||||||||||||||||||  in every log; the aligner is always 100 records behind its end
# video of "av"      x x x x x x x x x x x x x x
# audio of "av"      [==)[==) . . . . . . . . . .   nothing more after 1000
# end offset         ^(requested)....^ reached by the aligner, while the log has grown by 100
def test_case_15_a_silent_microphone_is_closed_although_its_partition_is_never_read_to_the_end() -> None:
    busy = [f"busy {n}" for n in range(10)]
    times = range(0, 12_000, 100)
    plan = [sent for s in busy for sent in sound(0, 12_000, 100, session=s) + frames(0, 12_000, 100, session=s)]
    plan += [sent for s in busy for sent in texts(times, session=s)] + sound(0, 1_000) + frames(0, 12_000)
    scene = Scene()
    scene.append_unread((sent for sent in plan if sent.at <= 1_000), until=1_000)
    for now_ms in range(1_100, 12_001, 100):
        scene.append_unread((sent for sent in plan if now_ms - 100 < sent.at <= now_ms), until=now_ms)
        scene.process_batch(scene.owner, {m: max(scene.ends()[m] - 100, 0) for m in MODALITIES})
        assert all(scene.owner.positions[m] < scene.ends()[m] for m in MODALITIES)
    # Reading 1000 behind, the idle timeout of 700, reaching the requested end offset, reading the tick.
    silent = range(500, 6_001, 500)
    assert set(silent) < set(scene.starts())
    assert max(scene.closed_at(start) - start - 2_000 for start in silent) <= 1_000 + 700 + 2 * 1_000 + 1_000
    assert {scene.mask(start, "audio") for start in range(1_000, 6_001, 500)} == {UNKNOWN}
    assert {scene.mask(start, "video") for start in range(-1_500, 6_001, 500)} == {PRESENT}
    scene.process_all()
    scene.wait(30_000)
    assert set(scene.fates("video")) == set(scene.fates("audio")) == set(scene.fates("text")) == {"windowed"}
    assert scene.outcome() == scene.oracle_outcome()
