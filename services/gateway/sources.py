"""The store of source statistics behind `GET /devices`. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from services.contract.source_stats import SourceStats
from services.gateway.messages import PageMessage

# Of all sessions, and of one.
SOURCES_MAX, SESSION_SOURCES_MAX = 5_000, 256
_Source = tuple[str, str]


class SourceStore:
    """Statistics by (session, modality, source).

    At a limit a new source takes the place of the one that has been silent longest, and is ignored if none is silent: a
    device that names a new source in each record must not hide those that send.

    Args:
        silent_us: A source is silent after so long without a record.
    """

    def __init__(self, silent_us: int) -> None:
        self._silent_us = silent_us
        # Sessions and their sources, those that sent last at the end.
        self._sessions: OrderedDict[str, OrderedDict[_Source, SourceStats]] = OrderedDict()
        self._count = 0

    def add(self, message: PageMessage) -> None:
        """Count a chunk, a session end, a late or a rejected record; ignore other messages."""
        facts = message.facts
        if facts is None or message.kind not in ("chunk", "late", "dead", "end"):
            return
        session, source = message.session, facts["source"]
        sources = self._sessions.get(session)
        stats = None if sources is None else sources.get(source)
        if message.kind == "chunk":
            if stats is None and not self._make_room(session, facts["arrived_us"]):
                return
            sources = self._sessions.setdefault(session, OrderedDict())
            if stats is None:
                stats = sources[source] = SourceStats()
                self._count += 1
            stats.add(facts["captured_us"], facts["arrived_us"], facts["corrected_us"])
            sources.move_to_end(source)
            self._sessions.move_to_end(session)
        elif stats is not None and message.kind == "late":
            stats.late += 1
        elif stats is not None and message.kind == "dead":
            stats.rejected[facts["reason"]] += 1
        elif stats is not None:
            stats.end(facts["arrived_us"])

    def forget(self, session: str) -> None:
        """Drop the sources of a session."""
        self._count -= len(self._sessions.pop(session, ()))

    def as_json(self, now_us: int) -> list[dict[str, Any]]:
        """Return all sources in order; `now_us` is the wall clock."""
        return [
            {
                "session": session,
                "modality": modality,
                "source": source,
                **stats.as_json(source, now_us, self._silent_us),
            }
            for session, sources in sorted(self._sessions.items())
            for (modality, source), stats in sorted(sources.items(), key=lambda item: item[0])
        ]

    def _make_room(self, session: str, now_us: int) -> bool:
        """Return whether one more source of a session has a place, if need be that of a silent one."""
        if len(self._sessions.get(session, ())) >= SESSION_SOURCES_MAX:
            return self._drop_silent(session, now_us)
        return self._count < SOURCES_MAX or self._drop_silent(next(iter(self._sessions)), now_us)

    def _drop_silent(self, session: str, now_us: int) -> bool:
        """Drop the source of a session that sent least recently; return False if it is not silent."""
        sources = self._sessions[session]
        source, stats = next(iter(sources.items()))
        if stats.last_us > now_us - self._silent_us:
            return False
        del sources[source]
        self._count -= 1
        if not sources:
            del self._sessions[session]
        return True
