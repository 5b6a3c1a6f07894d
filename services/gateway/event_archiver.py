"""The archive of ended events: collect what each event was made from, and read it back.

Explanations and media come from here when topics and memory no longer have them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from services.contract import canonical, cloudevents
from services.contract import window as window_record
from services.contract.cloudevents import Envelope
from services.contract.event import generation_of
from services.contract.kafka_record import KafkaRecord, RecordPosition
from services.contract.record_fields import ContractError
from services.contract.topics import Topics
from services.gateway.explanation import explain
from services.gateway.messages import MessageDecoder, PageMessage
from services.gateway.redaction import Redactor
from services.gateway.sessions import SessionView
from services.runtime.metric_definitions import GatewayMetrics
from services.storage.archive import EventArchive
from services.storage.archive_collector import collect_entry
from services.storage.archive_entry import ArchiveEntry
from services.storage.payload_cache import Payload, PayloadRequest


class ArchiveReader:
    """Reads the archive in a thread, for one request at a time."""

    def __init__(self, archive: EventArchive, topics: Topics) -> None:
        self._archive, self._topics = archive, topics
        self._lock = asyncio.Lock()

    async def explanation(self, session: str, id: str) -> dict[str, Any] | None:
        """Return what `explain` returns of a prediction; None if none of its events is archived."""
        async with self._lock:
            return await asyncio.to_thread(self._explanation, session, id)

    async def payload(self, wanted: PayloadRequest) -> Payload | None:
        """Return the bytes of a member, None if they are not archived."""
        async with self._lock:
            return await asyncio.to_thread(self._payload, wanted)

    def _explanation(self, session: str, id: str) -> dict[str, Any] | None:
        views = (view_of(entry, self._topics) for entry in self._archive.entries_of(session))
        return next((found for view in views if (found := explain(view, id)) is not None), None)

    def _payload(self, wanted: PayloadRequest) -> Payload | None:
        position = RecordPosition(self._topics.media(wanted.modality), wanted.partition, wanted.offset)
        for record in self._archive.media_records(wanted.session, position):
            envelope = cloudevents.parse_envelope(record.headers, record.value)
            if isinstance(envelope, Envelope) and hashlib.sha256(envelope.payload).hexdigest() == wanted.sha256:
                return Payload(envelope.get("content-type"), envelope.payload)
        return None


def view_of(entry: ArchiveEntry, topics: Topics) -> SessionView:
    """Return a view of a session in which nothing but one archived event happened."""
    view, decoder = SessionView(entry.session), MessageDecoder(topics)
    for record in (*entry.media, *entry.windows, *entry.predictions, *entry.events):
        # The value of a media record is missing where its file was changed or deleted.
        if record.value is None:
            continue
        try:
            for message in decoder.decode(record):
                view.add(message)
        except ContractError:
            continue
    return view


QUEUE_MAX = 256
OPEN_MAX, STEPS_MAX = 4_096, 64
ARCHIVE_WITHIN_S = 60
CHECK_EVERY_US = 5_000_000
SILENT_US = 60_000_000
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PendingEvent:
    """An event that is ongoing or waits to be archived: its records, and the ids of its predictions."""

    id: str
    session: str
    records: list[KafkaRecord] = field(default_factory=list)
    predictions: Sequence[str] = ()


class EventArchiver:
    """Gathers the records of events; when one ends it collects its evidence and writes it in a thread."""

    def __init__(
        self,
        archive: EventArchive,
        open_reader: Callable[[], AbstractAsyncContextManager[AIOKafkaConsumer]],
        topics: Topics,
        partitions: int,
        future_us: int,
        redactor: Redactor,
        metrics: GatewayMetrics,
    ) -> None:
        self._archive, self._open_reader, self._topics = archive, open_reader, topics
        self._partitions, self._future_us = partitions, future_us
        self._redactor, self._metrics = redactor, metrics
        self._open: OrderedDict[str, PendingEvent] = OrderedDict()
        self._checked_us = 0
        self._ended: asyncio.Queue[PendingEvent] = asyncio.Queue(QUEUE_MAX)

    def add(self, record: KafkaRecord, message: PageMessage, view: SessionView | None) -> None:
        """Take a step of an event; `view` is its session, with the predictions that are still in memory."""
        facts = message.facts or {}
        if not facts.get("final"):
            return
        event = self._open.setdefault(facts["id"], PendingEvent(facts["id"], message.session))
        if len(event.records) < STEPS_MAX:
            event.records.append(record)
        if facts["lifecycle"] == "end":
            self._end(event, view)
        while len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)

    def forget(self, session: str) -> None:
        """Drop the ongoing events of a session."""
        for event in [event for event in self._open.values() if event.session == session]:
            del self._open[event.id]

    def end_silent_events(self, views: Mapping[str, SessionView], now_us: int) -> None:
        """End the events of sessions that have fallen silent or were begun anew, which no record will ever end."""
        if now_us < self._checked_us + CHECK_EVERY_US:
            return
        self._checked_us = now_us
        for event in list(self._open.values()):
            view = views.get(event.session)
            is_older = view is not None and generation_of(event.id) < view.generation
            if view is None or view.arrived_us < now_us - SILENT_US or is_older:
                self._end(event, view)

    @property
    def waiting(self) -> int:
        """The number of events that have ended and are not archived yet."""
        return self._ended.qsize()

    async def run(self) -> None:
        """Archive what has ended until cancelled; archive nothing if the folder cannot be written."""
        try:
            await asyncio.to_thread(self._archive.open, _now_us())
        except OSError as error:
            _log.warning("Events are not archived: check archive.folder.", extra={"why": str(error)})
            return
        try:
            while True:
                event = await self._ended.get()
                try:
                    outcome = await asyncio.wait_for(self._save(event), ARCHIVE_WITHIN_S)
                except (KafkaError, TimeoutError, OSError) as error:
                    outcome = "failed"
                    _log.warning("An event was not archived.", extra={"why": type(error).__name__})
                self._metrics.events_archived.labels(outcome).inc()
        finally:
            self._archive.close()

    def _end(self, event: PendingEvent, view: SessionView | None) -> None:
        del self._open[event.id]
        event.predictions = predictions_of(event, view)
        try:
            self._ended.put_nowait(event)
        except asyncio.QueueFull:
            self._metrics.events_archived.labels("dropped").inc()

    async def _save(self, event: PendingEvent) -> str:
        # A gateway that starts reads events again that it archived when the topics had more of their evidence.
        if await asyncio.to_thread(self._archive.has, event.session, event.id):
            return "known"
        async with self._open_reader() as reader:
            entry = await collect_entry(
                reader,
                self._topics,
                self._partitions,
                self._future_us,
                event.records,
                event.id,
                event.session,
                event.predictions,
                _now_us(),
            )
        redacted = redact_entry(entry, self._redactor, self._topics)
        if redacted is None:
            return "off"
        return "kept" if await asyncio.to_thread(self._archive.save, redacted) else "off"


def predictions_of(event: PendingEvent, view: SessionView | None) -> list[str]:
    """Return the ids of the final predictions during an event and of those that its records name, in window order."""
    starts: dict[str, int] = {}
    known = {} if view is None else view.messages["prediction"]
    for message in known.values():
        if message.facts is not None and message.facts["final"]:
            ongoing = canonical.loads_object(message.raw).get("event")
            if ongoing is not None and ongoing["id"] == event.id:
                starts[message.key] = message.from_us
    for record in event.records:
        id = str(canonical.loads_object(record.value or b"")["prediction"])
        starts.setdefault(id, known[id].from_us if id in known else 0)
    return sorted(starts, key=lambda id: (starts[id], id))


def redact_entry(entry: ArchiveEntry, redactor: Redactor, topics: Topics) -> ArchiveEntry | None:
    """Return an entry without muted media; None if its session was forgotten meanwhile."""
    windows = [w for record in entry.windows if (w := window_record.decode_or_none(record.value)) is not None]
    if windows and redactor.is_forgotten(entry.session, min(w.start_us for w in windows)):
        return None
    muted = {
        RecordPosition(topics.media(modality), m.partition, m.offset)
        for window in windows
        for modality, stream in window.modalities.items()
        for m in stream.members
        if modality in topics.modalities and redactor.is_muted(entry.session, modality, m.t_us, m.t_us + m.duration_us)
    }
    modality_of = {topics.media(modality): modality for modality in topics.modalities}
    muted |= {
        record.position
        for record in entry.media
        if redactor.is_muted(entry.session, modality_of[record.topic], record.timestamp * 1000)
    }
    return replace(entry, media=[record for record in entry.media if record.position not in muted])


def _now_us() -> int:
    return time.time_ns() // 1000
