"""What is kept of sessions, and that it stays inside its bounds."""

from __future__ import annotations

from services.contract import canonical, cloudevents, tick, timestamps
from services.contract.chunk import Chunk
from services.contract.window import Member, encode_late
from services.gateway import messages
from services.gateway.explanation import explain
from services.gateway.sessions import HistoryLimits, SessionStore
from services.gateway.sources import SourceStore
from tests.unit.gateway.records import SECOND_US, START_US, chunk, event, media, prediction, record, window

WIDE = HistoryLimits(sessions_max=10, bytes_max=1_000_000, age_us_max=60 * SECOND_US)


def test_a_record_that_comes_again_is_passed_over() -> None:
    rooms = SessionStore(WIDE)
    assert rooms.add(chunk(), 0)
    assert not rooms.add(chunk(), 1)
    assert rooms.views["s"].counts["chunk"] == 1


def test_what_is_too_old_is_forgotten_and_with_it_its_session() -> None:
    rooms = SessionStore(WIDE)
    rooms.add(chunk("old"), 0)
    rooms.add(chunk("new"), 59 * SECOND_US)
    rooms.trim(60 * SECOND_US)
    assert list(rooms.views) == ["new"]
    rooms.trim(200 * SECOND_US)
    assert (rooms.bytes, list(rooms.views)) == (0, [])


def test_bytes_are_bounded_by_forgetting_what_was_read_first() -> None:
    one = chunk().size_bytes
    rooms = SessionStore(HistoryLimits(10, 3 * one, 1 << 60))
    for n in range(10):
        rooms.add(chunk(offset=n, id=str(n)), n)
    assert rooms.bytes <= 3 * one
    assert [t.key for t in rooms.views["s"].messages["chunk"].values()] == ["text 2 7", "text 2 8", "text 2 9"]


def test_of_too_many_sessions_the_one_that_was_heard_longest_ago_goes() -> None:
    rooms = SessionStore(HistoryLimits(2, 1 << 40, 1 << 60))
    for n, session in enumerate(["a", "b", "a", "c"]):
        rooms.add(chunk(session, offset=n), n)
    assert list(rooms.views) == ["a", "c"]


def test_a_tick_alone_makes_no_session() -> None:
    rooms = SessionStore(WIDE)
    (value,) = tick.encode({"never heard": 5}, "tick")
    (one,) = messages.media_messages("text", record(value, key=None))
    assert not rooms.add(one, 0)
    assert not rooms.views


def test_copies_are_counted_and_other_bytes_are_none() -> None:
    rooms = SessionStore(WIDE)
    for offset, body in enumerate([b"one", b"one", b"other"]):
        rooms.add(chunk(offset=offset, body=body), 0)
    assert rooms.views["s"].counts == {"chunk": 3, "late": 0, "dead": 0, "copy": 1}


def test_a_clock_that_runs_ahead_does_not_carry_the_session_away() -> None:
    rooms = SessionStore(WIDE)
    rooms.add(chunk(t_us=START_US + 3_600 * SECOND_US), 0)
    assert rooms.views["s"].head_us == START_US + SECOND_US


def test_the_summary_has_the_newest_answer_a_final_one_before_an_early_one_of_the_same_window() -> None:
    rooms = SessionStore(WIDE)
    rooms.add(messages.prediction_message(prediction("s/1/1@m", label="dog")), 0)
    rooms.add(messages.prediction_message(prediction("s/1/0-aa@m", final=False, label="rain")), 0)
    assert rooms.views["s"].summary()["answer"]["label"] == "dog"
    later = prediction("s/2/0-bb@m", start_us=START_US + SECOND_US, final=False, label="sea")
    rooms.add(messages.prediction_message(later), 0)
    assert rooms.views["s"].summary()["answer"]["label"] == "sea"


def test_the_summary_has_the_event_that_goes_on_and_none_after_its_end() -> None:
    rooms = SessionStore(WIDE)
    rooms.add(messages.event_message(event("new", final=False)), 0)
    rooms.add(messages.event_message(event("new")), 0)
    rooms.add(messages.event_message(event("update", label="cat")), 0)
    assert rooms.views["s"].summary()["event"]["label"] == "cat"
    rooms.add(messages.event_message(event("end", label="cat")), 0)
    assert rooms.views["s"].summary()["event"] is None


def test_since_gives_what_reaches_into_the_time_in_order() -> None:
    rooms = SessionStore(WIDE)
    for n in (2, 0, 1):
        rooms.add(chunk(offset=n, id=str(n), t_us=START_US + n * SECOND_US), 0)
    found = rooms.views["s"].messages_since(START_US + SECOND_US)["chunk"]
    assert [t.from_us - START_US for t in found] == [SECOND_US, 2 * SECOND_US]


def test_since_gives_the_steps_of_an_event_in_the_order_in_which_they_were_said() -> None:
    rooms = SessionStore(WIDE)
    for step in (event("new", final=False), event("new"), event("update", label="cat"), event("end", label="cat")):
        rooms.add(messages.event_message(step), 0)
    found = [canonical.loads_object(t.raw) for t in rooms.views["s"].messages_since(START_US)["event"]]
    assert [(e["lifecycle"], e["final"]) for e in found] == [
        ("new", False),
        ("new", True),
        ("update", True),
        ("end", True),
    ]


def test_since_gives_an_event_that_goes_on_however_long_ago_it_was_said() -> None:
    rooms = SessionStore(WIDE)
    rooms.add(messages.event_message(event("new")), 0)
    assert [t.kind for t in rooms.views["s"].messages_since(START_US + 90 * SECOND_US)["event"]] == ["event"]
    rooms.add(messages.event_message(event("end")), 0)
    assert rooms.views["s"].messages_since(START_US + 90 * SECOND_US)["event"] == []


def test_why_joins_prediction_window_chunks_events_and_the_other_answers() -> None:
    rooms = SessionStore(WIDE)
    one = chunk()
    assert one.facts is not None
    member = Member("/devices/d/text", "1", START_US, 0, one.facts["sha256"], 2, 0)
    id = f"s/{START_US // 1000}/1@m"
    shown = [one, messages.window_message(window(members=(member,))), messages.prediction_message(prediction(id))]
    for each in [
        *shown,
        messages.prediction_message(prediction("s/1/0-aa@m", final=False)),
        messages.event_message(event()),
    ]:
        rooms.add(each, 0)
    found = explain(rooms.views["s"], id)
    assert found is not None
    (only,) = found["members"]
    assert (only["text"], only["sha256"]) == ("hello", member.sha256)
    assert found["runner_up"]["label"] == "rain"
    assert found["counterfactuals"] == [{"without": ["text"], "label": "rain", "confidence": 0.1, "changes": True}]
    assert found["reproduce"] == f"braid why {id} --reproduce"
    assert [o["final"] for o in found["others"]] == [False]
    assert explain(rooms.views["s"], "another") is None


def test_why_without_its_window_still_has_the_prediction() -> None:
    rooms = SessionStore(WIDE)
    rooms.add(messages.prediction_message(prediction("s/5/1@m")), 0)
    found = explain(rooms.views["s"], "s/5/1@m")
    assert found is not None
    assert found["members"] is None


def test_sources_have_their_rate_and_the_smallest_offset_and_their_late_share() -> None:
    sources = SourceStore(10 * SECOND_US)
    for n, t_us in enumerate([START_US - 40_000, START_US - 30_000]):
        (one,) = messages.media_messages("text", media(id=str(n), offset=n, t_us=t_us))
        sources.add(one)
    chunk_late = Chunk("s", "text", "/devices/d/text", "1", START_US, 0, "0" * 64, 2, 1, START_US)
    sources.add(messages.late_message(record(encode_late(chunk_late, (START_US,), 5))))
    (told_of,) = sources.as_json(START_US + 5 * SECOND_US)
    assert (told_of["records"], told_of["clock_offset_ms"], told_of["last_seen_s"]) == (2, 30, 5.0)
    assert told_of["late_share"] == 0.5


def test_a_source_is_silent_since_it_was_heard_last_unless_it_said_that_it_ends() -> None:
    sources = SourceStore(10 * SECOND_US)
    sources.add(chunk())
    assert [s["silent_since_us"] for s in sources.as_json(START_US + 9 * SECOND_US)] == [None]
    assert [s["silent_since_us"] for s in sources.as_json(START_US + 10 * SECOND_US)] == [START_US]
    (end,) = messages.media_messages("text", media(b"", kind=cloudevents.SESSION_END_TYPE))
    sources.add(end)
    (one,) = sources.as_json(START_US + 99 * SECOND_US)
    assert (one["silent_since_us"], one["ended"], one["last_seen_us"]) == (None, True, START_US)


def test_what_was_added_to_a_clock_is_told() -> None:
    made = media()
    ours = ("ce_recordedtime", timestamps.format_us(START_US - 3 * SECOND_US).encode())
    sources = SourceStore(10 * SECOND_US)
    for one in messages.media_messages("text", made._replace(headers=[*made.headers, ours])):
        sources.add(one)
    (told_of,) = sources.as_json(START_US)
    assert (told_of["clock_corrected_ms"], told_of["clock_offset_ms"]) == (3_000, 0)
