"""Session views, their limits, the explanation of a prediction, and the list of sources."""

from __future__ import annotations

from services.contract import canonical, cloudevents, tick, timestamps
from services.contract.chunk import Chunk
from services.contract.window import Member, encode_late
from services.gateway import messages
from services.gateway.explanation import explain
from services.gateway.sessions import HistoryLimits, SessionStore
from services.gateway.sources import SourceStore
from tests.unit.gateway.records import SECOND_US, START_US, chunk, event, media, prediction, record, window

LIMITS = HistoryLimits(sessions_max=10, bytes_max=1_000_000, age_us_max=60 * SECOND_US)


def test_a_message_that_comes_again_is_ignored() -> None:
    store = SessionStore(LIMITS)
    assert store.add(chunk(), 0)
    assert not store.add(chunk(), 1)
    assert store.views["s"].counts["chunk"] == 1


def test_old_messages_are_dropped_and_sessions_without_messages() -> None:
    store = SessionStore(LIMITS)
    store.add(chunk("old"), 0)
    store.add(chunk("new"), 59 * SECOND_US)
    store.trim(60 * SECOND_US)
    assert list(store.views) == ["new"]
    store.trim(200 * SECOND_US)
    assert (store.bytes, list(store.views)) == (0, [])


def test_the_oldest_messages_are_dropped_beyond_the_limit_of_bytes() -> None:
    one = chunk().size_bytes
    store = SessionStore(HistoryLimits(10, 3 * one, 1 << 60))
    for n in range(10):
        store.add(chunk(offset=n, id=str(n)), n)
    assert store.bytes <= 3 * one
    assert [t.key for t in store.views["s"].messages["chunk"].values()] == ["text 2 7", "text 2 8", "text 2 9"]


def test_beyond_the_limit_of_sessions_the_least_recently_active_one_is_dropped() -> None:
    store = SessionStore(HistoryLimits(2, 1 << 40, 1 << 60))
    for n, session in enumerate(["a", "b", "a", "c"]):
        store.add(chunk(session, offset=n), n)
    assert list(store.views) == ["a", "c"]


def test_an_idle_record_alone_creates_no_session() -> None:
    store = SessionStore(LIMITS)
    (value,) = tick.encode({"unknown session": 5}, "tick")
    (one,) = messages.media_messages("text", record(value, key=None))
    assert not store.add(one, 0)
    assert not store.views


def test_duplicates_are_counted_and_other_bytes_are_no_duplicate() -> None:
    store = SessionStore(LIMITS)
    for offset, body in enumerate([b"one", b"one", b"other"]):
        store.add(chunk(offset=offset, body=body), 0)
    assert store.views["s"].counts == {"chunk": 3, "late": 0, "dead": 0, "copy": 1}


def test_a_clock_that_is_ahead_does_not_move_the_session_into_the_future() -> None:
    store = SessionStore(LIMITS)
    store.add(chunk(t_us=START_US + 3_600 * SECOND_US), 0)
    assert store.views["s"].head_us == START_US + SECOND_US


def test_the_summary_has_the_newest_prediction_and_prefers_final_to_early() -> None:
    store = SessionStore(LIMITS)
    store.add(messages.prediction_message(prediction("s/1/1@m", label="dog")), 0)
    store.add(messages.prediction_message(prediction("s/1/0-aa@m", final=False, label="rain")), 0)
    assert store.views["s"].summary()["answer"]["label"] == "dog"
    later = prediction("s/2/0-bb@m", start_us=START_US + SECOND_US, final=False, label="sea")
    store.add(messages.prediction_message(later), 0)
    assert store.views["s"].summary()["answer"]["label"] == "sea"


def test_the_summary_has_the_ongoing_event_until_its_end() -> None:
    store = SessionStore(LIMITS)
    store.add(messages.event_message(event("new", final=False)), 0)
    store.add(messages.event_message(event("new")), 0)
    store.add(messages.event_message(event("update", label="cat")), 0)
    assert store.views["s"].summary()["event"]["label"] == "cat"
    store.add(messages.event_message(event("end", label="cat")), 0)
    assert store.views["s"].summary()["event"] is None


def test_a_session_that_is_begun_anew_shows_nothing_of_its_former_windows_and_times() -> None:
    store, ahead_us = SessionStore(LIMITS), START_US + 86_400 * SECOND_US
    store.add(chunk(), 0)
    store.add(messages.window_message(window(ahead_us)), 0)
    store.add(messages.prediction_message(prediction(start_us=ahead_us, label="rain")), 0)
    store.add(messages.event_message(event(id="s/1-1")), 0)
    view = store.views["s"]
    assert view.head_us == ahead_us + 2 * SECOND_US
    assert store.add(messages.window_message(window(generation=7)), 0)
    assert (view.generation, view.head_us) == (7, START_US + 2 * SECOND_US)
    assert {kind: len(left) for kind, left in view.messages.items() if left} == {"chunk": 1, "window": 1}
    assert (view.summary()["answer"], view.summary()["event"]) == (None, None)
    # What the aligner and the fusion worker publish of the old generation after the reset.
    assert not store.add(messages.window_message(window(ahead_us)), 0)
    assert not store.add(messages.event_message(event("end", id="s/1-1")), 0)
    assert store.add(messages.event_message(event(id="s/1-1~7")), 0)


def test_messages_since_a_time_are_in_event_time_order() -> None:
    store = SessionStore(LIMITS)
    for n in (2, 0, 1):
        store.add(chunk(offset=n, id=str(n), t_us=START_US + n * SECOND_US), 0)
    explanation = store.views["s"].messages_since(START_US + SECOND_US)["chunk"]
    assert [t.from_us - START_US for t in explanation] == [SECOND_US, 2 * SECOND_US]


def test_steps_of_an_event_stay_in_the_order_of_arrival() -> None:
    store = SessionStore(LIMITS)
    for step in (event("new", final=False), event("new"), event("update", label="cat"), event("end", label="cat")):
        store.add(messages.event_message(step), 0)
    explanation = [canonical.loads_object(t.raw) for t in store.views["s"].messages_since(START_US)["event"]]
    assert [(e["lifecycle"], e["final"]) for e in explanation] == [
        ("new", False),
        ("new", True),
        ("update", True),
        ("end", True),
    ]


def test_an_ongoing_event_is_included_however_old_it_is() -> None:
    store = SessionStore(LIMITS)
    store.add(messages.event_message(event("new")), 0)
    assert [t.kind for t in store.views["s"].messages_since(START_US + 90 * SECOND_US)["event"]] == ["event"]
    store.add(messages.event_message(event("end")), 0)
    assert store.views["s"].messages_since(START_US + 90 * SECOND_US)["event"] == []


def test_an_explanation_joins_prediction_window_chunks_events_and_other_predictions() -> None:
    store = SessionStore(LIMITS)
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
        store.add(each, 0)
    explanation = explain(store.views["s"], id)
    assert explanation is not None
    (only,) = explanation["members"]
    assert (only["text"], only["sha256"]) == ("hello", member.sha256)
    assert explanation["runner_up"]["label"] == "rain"
    assert explanation["counterfactuals"] == [
        {"without": ["text"], "label": "rain", "confidence": 0.1, "changes": True}
    ]
    assert explanation["reproduce"] == f"braid why {id} --reproduce"
    assert [o["final"] for o in explanation["others"]] == [False]
    assert explain(store.views["s"], "another") is None


def test_an_explanation_without_the_window_still_has_the_prediction() -> None:
    store = SessionStore(LIMITS)
    store.add(messages.prediction_message(prediction("s/5/1@m")), 0)
    explanation = explain(store.views["s"], "s/5/1@m")
    assert explanation is not None
    assert explanation["members"] is None


def test_a_source_has_its_count_its_smallest_clock_offset_and_its_late_share() -> None:
    sources = SourceStore(10 * SECOND_US)
    for n, t_us in enumerate([START_US - 40_000, START_US - 30_000]):
        (one,) = messages.media_messages("text", media(id=str(n), offset=n, t_us=t_us))
        sources.add(one)
    chunk_late = Chunk("s", "text", "/devices/d/text", "1", START_US, 0, "0" * 64, 2, 1, START_US)
    sources.add(messages.late_message(record(encode_late(chunk_late, (START_US,), 5))))
    (row,) = sources.as_json(START_US + 5 * SECOND_US)
    assert (row["records"], row["clock_offset_ms"], row["last_seen_s"]) == (2, 30, 5.0)
    assert row["late_share"] == 0.5


def test_a_source_is_silent_since_its_last_record_unless_it_ended() -> None:
    sources = SourceStore(10 * SECOND_US)
    sources.add(chunk())
    assert [s["silent_since_us"] for s in sources.as_json(START_US + 9 * SECOND_US)] == [None]
    assert [s["silent_since_us"] for s in sources.as_json(START_US + 10 * SECOND_US)] == [START_US]
    (end,) = messages.media_messages("text", media(b"", kind=cloudevents.SESSION_END_TYPE))
    sources.add(end)
    (one,) = sources.as_json(START_US + 99 * SECOND_US)
    assert (one["silent_since_us"], one["ended"], one["last_seen_us"]) == (None, True, START_US)


def test_the_correction_of_a_clock_is_listed() -> None:
    made = media()
    recorded_time = ("ce_recordedtime", timestamps.format_us(START_US - 3 * SECOND_US).encode())
    sources = SourceStore(10 * SECOND_US)
    for one in messages.media_messages("text", made._replace(headers=[*made.headers, recorded_time])):
        sources.add(one)
    (row,) = sources.as_json(START_US)
    assert (row["clock_corrected_ms"], row["clock_offset_ms"]) == (3_000, 0)
