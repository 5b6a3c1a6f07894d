"""Explanations and media of archived events, for what topics and memory no longer have."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from services.contract import cloudevents
from services.contract.cloudevents import Envelope
from services.contract.record import RecordPosition
from services.contract.topics import Topics
from services.gateway.explanation import explain
from services.gateway.messages import InvalidRecord, MessageDecoder
from services.gateway.sessions import SessionView
from services.storage.archive import EventArchive
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
        except InvalidRecord:
            continue
    return view
