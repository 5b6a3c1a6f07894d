"""The store of source statistics behind `GET /devices`. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from services.contract.source_stats import SourceStats
from services.gateway.messages import PageMessage

SOURCES_MAX = 5_000


class SourceStore:
    """Statistics by (session, modality, source); the source that sent least recently is dropped first.

    Args:
        silent_us: A source is silent after so long without a record.
    """

    def __init__(self, silent_us: int) -> None:
        self._silent_us = silent_us
        self._stats: OrderedDict[tuple[str, str, str], SourceStats] = OrderedDict()

    def add(self, message: PageMessage) -> None:
        """Count a chunk, a session end, a late or a rejected record; ignore other messages."""
        facts = message.facts
        if facts is None or message.kind not in ("chunk", "late", "dead", "end"):
            return
        key = message.session, *facts["source"]
        stats = self._stats.get(key)
        if message.kind == "chunk":
            if stats is None:
                stats = self._stats[key] = SourceStats()
                while len(self._stats) > SOURCES_MAX:
                    self._stats.popitem(last=False)
            stats.add(facts["captured_us"], facts["arrived_us"], facts["corrected_us"])
            self._stats.move_to_end(key)
        elif stats is not None and message.kind == "late":
            stats.late += 1
        elif stats is not None and message.kind == "dead":
            stats.rejected[facts["reason"]] += 1
        elif stats is not None:
            stats.end(facts["arrived_us"])

    def forget(self, session: str) -> None:
        """Drop the sources of a session."""
        for key in [key for key in self._stats if key[0] == session]:
            del self._stats[key]

    def as_json(self, now_us: int) -> list[dict[str, Any]]:
        """Return all sources in order; `now_us` is the wall clock."""
        return [
            {
                "session": session,
                "modality": modality,
                "source": source,
                **stats.as_json(source, now_us, self._silent_us),
            }
            for (session, modality, source), stats in sorted(self._stats.items(), key=lambda item: item[0])
        ]
