"""The sources that were heard: how often, how late, and how far their clocks are off. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from services.gateway.messages import PageMessage

SOURCES_MAX = 5_000
HORIZON_US = 60_000_000
Key = tuple[str, str, str]


@dataclass(slots=True)
class Source:
    """Counts of one source over the time that it has been known; times in us of the broker's clock.

    offset_us: the smallest of arrival minus the end of what was captured, of the last minute or so: the shortest way
    plus how far its clock is behind. corrected_us: what whoever made its newest record added to its clock. ended_us: when
    it said that it will send no more, 0 where it has not.
    """

    first_us: int
    last_us: int
    records: int
    late: int
    offset_us: int
    offset_at_us: int
    corrected_us: int = 0
    ended_us: int = 0


class Sources:
    """Sources by (session, modality, source), the one heard last at the end; silent after silent_us without a record."""

    def __init__(self, silent_us: int) -> None:
        self._silent_us = silent_us
        self._known: OrderedDict[Key, Source] = OrderedDict()

    def put(self, told: PageMessage) -> None:
        """Count a chunk, an end or a late record."""
        if told.facts is None or told.kind not in ("chunk", "late", "end"):
            return
        modality, name = told.facts["source"]
        key = told.session, modality, name
        found = self._known.get(key)
        if told.kind == "late":
            if found is not None:
                found.late += 1
            return
        at_us = told.facts["arrived_us"]
        if told.kind == "end":
            if found is not None:
                found.ended_us = max(found.ended_us, at_us)
            return
        offset_us = at_us - told.to_us
        if found is None:
            found = self._known[key] = Source(at_us, at_us, 0, 0, offset_us, at_us)
            while len(self._known) > SOURCES_MAX:
                self._known.popitem(last=False)
        found.records += 1
        found.last_us = max(found.last_us, at_us)
        found.corrected_us = told.facts["corrected_us"]
        if offset_us <= found.offset_us or at_us - found.offset_at_us > HORIZON_US:
            found.offset_us, found.offset_at_us = offset_us, at_us
        self._known.move_to_end(key)

    def forget(self, session: str) -> None:
        """Know nothing of a session's sources."""
        for key in [key for key in self._known if key[0] == session]:
            del self._known[key]

    def as_json(self, now_us: int) -> list[dict[str, Any]]:
        """All sources in order; now_us: the wall clock, in us since the epoch."""
        return [
            {
                "session": session,
                "modality": modality,
                "source": name,
                "records": s.records,
                "last_seen_us": s.last_us,
                "last_seen_s": round(max(now_us - s.last_us, 0) / 1e6, 1),
                "silent_since_us": self._silent_since_us(s, now_us),
                "ended": s.ended_us >= s.last_us,
                "rate_hz": round((s.records - 1) * 1e6 / max(s.last_us - s.first_us, 1), 2) if s.records > 1 else 0.0,
                "clock_offset_ms": round(s.offset_us / 1000),
                "clock_corrected_ms": round(s.corrected_us / 1000),
                "late_share": round(s.late / s.records, 3),
            }
            for (session, modality, name), s in sorted(self._known.items())
        ]

    def _silent_since_us(self, source: Source, now_us: int) -> int | None:
        """When it was heard last, None while it is heard; one that has ended is not silent."""
        if source.ended_us >= source.last_us or now_us - source.last_us < self._silent_us:
            return None
        return source.last_us
