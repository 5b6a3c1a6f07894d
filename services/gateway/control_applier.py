"""Apply a mute or a forget at once: what is already in memory is redacted, too."""

from __future__ import annotations

from services.contract.control import Control
from services.gateway.archive_writer import EventArchiver
from services.gateway.event_stream import EventStream
from services.gateway.redaction import redact_muted
from services.gateway.sessions import SessionStore
from services.gateway.sources import SourceStore


class ControlApplier:
    """Called with each control as it becomes known."""

    def __init__(self, rooms: SessionStore, sources: SourceStore, ring: EventStream, keeper: EventArchiver) -> None:
        self._rooms, self._sources, self._ring, self._keeper = rooms, sources, ring, keeper
        self._forgotten_us: dict[str, int] = {}

    def __call__(self, control: Control) -> None:
        session = control.session
        if control.forgotten_before_us > self._forgotten_us.get(session, 0):
            self._forgotten_us[session] = control.forgotten_before_us
            self._rooms.forget(session)
            self._sources.forget(session)
            self._keeper.forget(session)
            self._ring.rewrite(session, lambda _: None)
        for kept in (self._rooms, self._ring):
            kept.rewrite(session, lambda told: redact_muted(told, control))
