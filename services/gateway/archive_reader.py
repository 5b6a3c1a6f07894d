"""What is kept of events that ended, for the page: answers and media that topics and memory have no more."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from services.contract import cloudevents
from services.contract.cloudevents import Envelope
from services.contract.record import KafkaRecord, RecordPosition
from services.contract.topics import Topics
from services.gateway import media_messages, messages
from services.gateway.explanation import explain
from services.gateway.messages import InvalidRecord, PageMessage
from services.gateway.sessions import SessionView
from services.storage.archive import EventArchive
from services.storage.archive_entry import ArchiveEntry
from services.storage.payload_cache import Payload, Wanted


class ArchiveReader:
    """Reads the store, one request at a time and never on the event loop."""

    def __init__(self, store: EventArchive, topics: Topics) -> None:
        self._store, self._topics = store, topics
        self._one = asyncio.Lock()

    async def explanation(self, session: str, id: str) -> dict[str, Any] | None:
        """All about a prediction of an event, as `why` tells it; None where none is kept."""
        async with self._one:
            return await asyncio.to_thread(self._why, session, id)

    async def payload(self, wanted: Wanted) -> Payload | None:
        """The bytes of a member of an event, None where they are not kept."""
        async with self._one:
            return await asyncio.to_thread(self._payload, wanted)

    def _why(self, session: str, id: str) -> dict[str, Any] | None:
        for entry in self._store.entries_of(session):
            found = explain(view_of(entry, self._topics), id)
            if found is not None:
                return found
        return None

    def _payload(self, wanted: Wanted) -> Payload | None:
        place = RecordPosition(self._topics.media(wanted.modality), wanted.partition, wanted.offset)
        for kept in self._store.media_records(wanted.session, place):
            read = cloudevents.unwrap(kept.headers, kept.value)
            if isinstance(read, Envelope) and hashlib.sha256(read.payload).hexdigest() == wanted.sha256:
                return Payload(read.get("content-type"), read.payload)
        return None


def view_of(entry: ArchiveEntry, topics: Topics) -> SessionView:
    """A session in which nothing but one event happened."""
    room, modality_of = SessionView(entry.session), {topics.media(m): m for m in topics.modalities}
    for kept in (*entry.media, *entry.windows, *entry.predictions, *entry.events):
        for one in _told(kept, topics, modality_of):
            room.add(one)
    return room


def _told(kept: KafkaRecord, topics: Topics, modality_of: dict[str, str]) -> list[PageMessage]:
    read = {
        topics.windows: messages.window_message,
        topics.predictions: messages.prediction_message,
        topics.events: messages.event_message,
    }
    try:
        if kept.topic in modality_of:
            # A value that was changed on disk is gone: there is nothing to tell of it.
            return [] if kept.value is None else list(media_messages.media_messages(modality_of[kept.topic], kept))
        return [read[kept.topic](kept)] if kept.topic in read else []
    except InvalidRecord:
        return []
