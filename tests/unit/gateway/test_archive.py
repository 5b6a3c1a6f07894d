"""What is kept of an event that ended, and what is told of it once memory and topics have it no more."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import cast

from prometheus_client import CollectorRegistry

from services.contract import canonical
from services.contract.record import KafkaRecord
from services.contract.topics import Topics
from services.contract.window import Member
from services.gateway import messages
from services.gateway.archive_reader import ArchiveReader
from services.gateway.archive_writer import QUEUE_MAX, EventArchiver, PendingEvent, predictions_of
from services.gateway.redaction import Redactor
from services.gateway.sessions import SessionView
from services.runtime.metrics import GatewayMetrics
from services.storage.archive import EventArchive
from services.storage.archive_entry import ArchiveEntry
from services.storage.payload_cache import PayloadRequest
from tests.unit.gateway.records import START_US, chunk, event, media, prediction, window

TOPICS = Topics("braid", ("text", "video", "audio"))
ID = f"s/{START_US // 1000}/1@m"


def kept(topic: str, r: KafkaRecord) -> KafkaRecord:
    return r._replace(topic=topic)


def keeper(metrics: GatewayMetrics) -> EventArchiver:
    return EventArchiver(cast(EventArchive, None), nullcontext, TOPICS, 8, 0, Redactor(lambda _: None), metrics)


def said(keeper: EventArchiver, room: SessionView | None, lifecycle: str, id: str = "s/1") -> None:
    record = event(lifecycle, id=id)
    keeper.add(kept(TOPICS.events, record), messages.event_message(record), room)


def count(metrics: GatewayMetrics, outcome: str) -> float:
    return float(metrics.events_archived.labels(outcome)._value.get())


def test_an_event_was_made_from_the_final_predictions_during_which_it_went_on() -> None:
    state = canonical.dumps({"open": [1_000, "dog", START_US, START_US, 0.9]})
    other = canonical.dumps({"open": [9_000, "dog", START_US, START_US, 0.9]})
    room = SessionView("s")
    for n, (headers, final) in enumerate([(state, True), (state, True), (other, True), (state, False)]):
        room.add(
            messages.prediction_message(
                prediction(f"s/{n}/1@m", start_us=START_US - n, final=final, braid_state=headers)
            )
        )
    going = PendingEvent("s/1", "s", [kept(TOPICS.events, event("end"))])
    assert predictions_of(going, room) == ["s/1/1@m", "s/0/1@m"], "in the order of their windows"
    assert predictions_of(going, None) == ["s/1/1@m"]


def test_more_ends_than_can_wait_are_dropped_and_counted() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    full = keeper(metrics)
    for n in range(QUEUE_MAX + 3):
        said(full, None, "end", f"s/{n}")
    assert count(metrics, "dropped") == 3


def test_an_event_whose_session_fell_silent_is_taken_as_ended() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    keeping, room = keeper(metrics), SessionView("s")
    room.add(chunk())
    said(keeping, room, "new")
    waiting = []
    for later_s in (30, 90):
        keeping.end_silent_events({"s": room}, START_US + later_s * 1_000_000)
        waiting.append(keeping.waiting)
    assert waiting == [0, 1]


async def test_an_old_event_is_explained_and_its_media_served_from_what_is_kept(tmp_path: Path) -> None:
    heard = media(b"woof", offset=4)
    sha256 = (chunk(body=b"woof").facts or {})["sha256"]
    member = Member("/devices/d/text", "1", START_US, 0, sha256, 2, 4)
    records = [kept(TOPICS.windows, window(members=(member,)))], [kept(TOPICS.predictions, prediction(ID))]
    entry = ArchiveEntry(
        "s/1", "s", START_US, [kept(TOPICS.events, event("end"))], *records, [kept(TOPICS.media("text"), heard)]
    )
    store = EventArchive(tmp_path, 7, 1_000_000)
    store.open(START_US)
    assert store.save(entry)
    events = ArchiveReader(store, TOPICS)
    found = await events.explanation("s", ID)
    assert found is not None
    assert [m["text"] for m in found["members"]] == ["woof"]
    payload = await events.payload(PayloadRequest("s", "text", START_US, 2, 4, sha256))
    assert payload is not None
    assert payload.body == b"woof"
    assert await events.payload(PayloadRequest("s", "text", START_US, 2, 4, "0" * 64)) is None
    assert await events.payload(PayloadRequest("other", "text", START_US, 2, 4, sha256)) is None
    assert store.forget("s") == 1
    assert await events.explanation("s", ID) is None
