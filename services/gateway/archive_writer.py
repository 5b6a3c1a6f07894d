"""Keeps what an event was made from once it has ended: beside the follower, one event at a time, never in its way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from services.contract import canonical
from services.contract import window as window_record
from services.contract.record import KafkaRecord
from services.contract.topics import Topics
from services.gateway.messages import PageMessage
from services.gateway.redaction import Redactor
from services.gateway.sessions import SessionView
from services.runtime.metrics import GatewayMetrics
from services.storage.archive import EventArchive
from services.storage.archive_collector import collect_entry
from services.storage.archive_entry import ArchiveEntry

WAITING_MAX = 256
OPEN_MAX, STEPS_MAX = 4_096, 64
WITHIN_S = 60
SETTLE_EVERY_US = 5_000_000
SILENT_US = 60_000_000
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PendingEvent:
    """An event that goes on or has ended: its records, and the ids of the predictions that it was made from."""

    id: str
    session: str
    records: list[KafkaRecord] = field(default_factory=list)
    predictions: Sequence[str] = ()


class EventArchiver:
    """Takes every record of an event; of an end it gathers the evidence and has it written by a thread."""

    def __init__(
        self,
        store: EventArchive,
        reader: Callable[[], AbstractAsyncContextManager[AIOKafkaConsumer]],
        topics: Topics,
        partitions: int,
        future_us: int,
        hidden: Redactor,
        metrics: GatewayMetrics,
    ) -> None:
        self._hidden = hidden
        self._store, self._reader, self._topics = store, reader, topics
        self._partitions, self._future_us, self._metrics = partitions, future_us, metrics
        self._open: OrderedDict[str, PendingEvent] = OrderedDict()
        self._settled_us = 0
        self._ended: asyncio.Queue[PendingEvent] = asyncio.Queue(WAITING_MAX)

    def add(self, kept: KafkaRecord, told: PageMessage, room: SessionView | None) -> None:
        """A record of an event; room: its session, with the predictions that are still in memory."""
        facts = told.facts or {}
        if not facts.get("final"):
            return
        event = self._open.setdefault(facts["id"], PendingEvent(facts["id"], told.session))
        if len(event.records) < STEPS_MAX:
            event.records.append(kept)
        if facts["lifecycle"] != "end":
            while len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)
            return
        self._end(event, room)

    def forget(self, session: str) -> None:
        """Keep nothing of a session's events that go on."""
        for event in [event for event in self._open.values() if event.session == session]:
            del self._open[event.id]

    def end_silent_events(self, rooms: Mapping[str, SessionView], now_us: int) -> None:
        """Take events as ended whose sessions fell silent: nothing else will ever end them."""
        if now_us < self._settled_us + SETTLE_EVERY_US:
            return
        self._settled_us = now_us
        for event in list(self._open.values()):
            room = rooms.get(event.session)
            if room is None or room.arrived_us < now_us - SILENT_US:
                self._end(event, room)

    def _end(self, event: PendingEvent, room: SessionView | None) -> None:
        del self._open[event.id]
        event.predictions = predictions_of(event, room)
        try:
            self._ended.put_nowait(event)
        except asyncio.QueueFull:
            self._metrics.events_archived.labels("dropped").inc()

    @property
    def waiting(self) -> int:
        """Events that ended and are not kept yet."""
        return self._ended.qsize()

    async def run(self) -> None:
        """Keep what has ended until cancelled; where the folder cannot be written nothing is kept, and said so."""
        try:
            await asyncio.to_thread(self._store.open, _now_us())
        except OSError as error:
            _log.warning("no evidence of events is kept: see archive.folder", extra={"why": str(error)})
            return
        try:
            while True:
                event = await self._ended.get()
                try:
                    outcome = await asyncio.wait_for(self._keep(event), WITHIN_S)
                except (KafkaError, TimeoutError, OSError) as error:
                    outcome = "failed"
                    _log.warning("the evidence of an event is not kept", extra={"why": type(error).__name__})
                self._metrics.events_archived.labels(outcome).inc()
        finally:
            self._store.close()

    async def _keep(self, event: PendingEvent) -> str:
        # A gateway that starts looks back, and sees again what it kept when more of it was there.
        if await asyncio.to_thread(self._store.has, event.session, event.id):
            return "known"
        async with self._reader() as reader:
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
        allowed = redact_entry(entry, self._hidden, self._topics)
        if allowed is None:
            return "off"
        return "kept" if await asyncio.to_thread(self._store.save, allowed) else "off"


def predictions_of(event: PendingEvent, room: SessionView | None) -> list[str]:
    """The final predictions during which the event went on, and those that its records name, in order of their windows."""
    starts: dict[str, int] = {}
    said = {} if room is None else room.kept["prediction"]
    for told in said.values():
        if told.facts is not None and told.facts["final"]:
            going = canonical.loads_object(told.raw).get("event")
            if going is not None and going["id"] == event.id:
                starts[told.key] = told.from_us
    for kept in event.records:
        named = str(canonical.loads_object(kept.value or b"")["prediction"])
        known = said.get(named)
        starts.setdefault(named, known.from_us if known else 0)
    return sorted(starts, key=lambda id: (starts[id], id))


def redact_entry(entry: ArchiveEntry, hidden: Redactor, topics: Topics) -> ArchiveEntry | None:
    """An entry without the media of muted senses, None where its session was forgotten since."""
    windows = [w for kept in entry.windows if (w := window_record.read(kept.value)) is not None]
    if windows and hidden.is_forgotten(entry.session, min(w.start_us for w in windows)):
        return None
    muted = {
        (topics.media(modality), m.partition, m.offset)
        for window in windows
        for modality, lane in window.modalities.items()
        for m in lane.members
        if modality in topics.modalities and hidden.is_muted(entry.session, modality, m.t_us, m.t_us + m.duration_us)
    }
    of_topic = {topics.media(modality): modality for modality in topics.modalities}
    muted |= {
        (k.topic, k.partition, k.offset)
        for k in entry.media
        if hidden.is_muted(entry.session, of_topic[k.topic], k.timestamp * 1000)
    }
    return replace(entry, media=[k for k in entry.media if (k.topic, k.partition, k.offset) not in muted])


def _now_us() -> int:
    return time.time_ns() // 1000
