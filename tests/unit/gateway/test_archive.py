"""Archiving events when they end, and explaining them from the archive."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import cast

from prometheus_client import CollectorRegistry

from services.contract import canonical
from services.contract.kafka_record import KafkaRecord
from services.contract.topics import Topics
from services.contract.window import Member
from services.gateway import messages
from services.gateway.event_archiver import QUEUE_MAX, ArchiveReader, EventArchiver, PendingEvent, predictions_of
from services.gateway.redaction import Redactor
from services.gateway.sessions import SessionView
from services.runtime.metric_definitions import GatewayMetrics
from services.storage.archive import EventArchive
from services.storage.archive_entry import ArchiveEntry
from services.storage.payload_cache import PayloadRequest
from tests.unit.gateway.records import START_US, chunk, event, media, prediction, window

TOPICS = Topics("braid", ("text", "video", "audio"))
ID = f"s/{START_US // 1000}/1@m"


def in_topic(topic: str, record: KafkaRecord) -> KafkaRecord:
    return record._replace(topic=topic)


def archiver_of(metrics: GatewayMetrics) -> EventArchiver:
    return EventArchiver(cast(EventArchive, None), nullcontext, TOPICS, 8, 0, Redactor(lambda _: None), metrics)


def add_step(archiver: EventArchiver, view: SessionView | None, lifecycle: str, id: str = "s/1") -> None:
    record = event(lifecycle, id=id)
    archiver.add(in_topic(TOPICS.events, record), messages.event_message(record), view)


def count(metrics: GatewayMetrics, outcome: str) -> float:
    return float(metrics.events_archived.labels(outcome)._value.get())


def test_an_event_has_the_final_predictions_during_which_it_was_ongoing() -> None:
    state = canonical.dumps({"chain_us": 1_000, "events": 1, "open": [1_000, "dog", START_US, START_US, 0.9]})
    other = canonical.dumps({"chain_us": 1_000, "events": 2, "open": [9_000, "dog", START_US, START_US, 0.9]})
    view = SessionView("s")
    for n, (headers, final) in enumerate([(state, True), (state, True), (other, True), (state, False)]):
        view.add(
            messages.prediction_message(
                prediction(f"s/{n}/1@m", start_us=START_US - n, final=final, braid_state=headers)
            )
        )
    ongoing = PendingEvent("s/1-1", "s", [in_topic(TOPICS.events, event("end"))])
    assert predictions_of(ongoing, view) == ["s/1/1@m", "s/0/1@m"], "in window order"
    assert predictions_of(ongoing, None) == ["s/1/1@m"]


def test_ended_events_beyond_the_queue_are_dropped_and_counted() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    archiver = archiver_of(metrics)
    for n in range(QUEUE_MAX + 3):
        add_step(archiver, None, "end", f"s/{n}")
    assert count(metrics, "dropped") == 3


def test_an_event_of_a_silent_session_is_ended() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    archiver, view = archiver_of(metrics), SessionView("s")
    view.add(chunk())
    add_step(archiver, view, "new")
    waiting = []
    for later_s in (30, 90):
        archiver.end_silent_events({"s": view}, START_US + later_s * 1_000_000)
        waiting.append(archiver.waiting)
    assert waiting == [0, 1]


def test_an_event_of_an_older_generation_is_ended() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    archiver, view = archiver_of(metrics), SessionView("s", generation=7)
    view.add(chunk())
    add_step(archiver, view, "new", "s/1-1")
    add_step(archiver, view, "new", "s/1-1~7")
    archiver.end_silent_events({"s": view}, START_US)
    assert archiver.waiting == 1


async def test_an_archived_event_is_explained_and_its_media_are_served(tmp_path: Path) -> None:
    record = media(b"woof", offset=4)
    sha256 = (chunk(body=b"woof").facts or {})["sha256"]
    member = Member("/devices/d/text", "1", START_US, 0, sha256, 2, 4)
    records = [in_topic(TOPICS.windows, window(members=(member,)))], [in_topic(TOPICS.predictions, prediction(ID))]
    entry = ArchiveEntry(
        "s/1",
        "s",
        START_US,
        [in_topic(TOPICS.events, event("end"))],
        *records,
        [in_topic(TOPICS.media("text"), record)],
    )
    archive = EventArchive(tmp_path, 7, 1_000_000)
    archive.open(START_US)
    assert archive.save(entry)
    reader = ArchiveReader(archive, TOPICS)
    explanation = await reader.explanation("s", ID)
    assert explanation is not None
    assert [m["text"] for m in explanation["members"]] == ["woof"]
    payload = await reader.payload(PayloadRequest("s", "text", START_US, 2, 4, sha256))
    assert payload is not None
    assert payload.body == b"woof"
    assert await reader.payload(PayloadRequest("s", "text", START_US, 2, 4, "0" * 64)) is None
    assert await reader.payload(PayloadRequest("other", "text", START_US, 2, 4, sha256)) is None
    assert archive.forget("s") == 1
    assert await reader.explanation("s", ID) is None
