"""Quotas of sources and sessions: a function of one modality's log, like the limit of members in a window.

`QuotaLimits`: a chunk counts in the last window that it overlaps, and only if it is a member there. These chunks are
retained until that window is emitted: whenever a restart judges another chunk of the window, it has read them again and
counted the same (alignment.md, A10).

`OpenSessions`: the sessions of a source have no window in common, so they are counted by periods of append time, and a
restart reads the log back to where the period of its commit offset begins.
"""

from __future__ import annotations

from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk

# The entry of all sources of the modality together; a source is never empty.
_ALL = ""
# Records, bytes and pixels by source (of all sources: bytes and pixels). Lists, because one is updated for each chunk.
Usage = dict[str, list[int]]


class QuotaLimits:
    """The quotas of the settings for one hop."""

    def __init__(self, config: AlignmentConfig) -> None:
        quotas, per_hop = config.quotas, config.per_hop
        self.enabled = quotas is not None
        if quotas is not None:
            self._quotas = quotas
            self._sources_max = quotas.session_sources_max
            self._records = per_hop(quotas.source_records_per_s)
            self._bytes, self._pixels = per_hop(quotas.source_bytes_per_s), per_hop(quotas.source_pixels_per_s)
            self._all_bytes = per_hop(quotas.session_bytes_per_s)
            self._all_pixels = per_hop(quotas.session_pixels_per_s)
            # Sums of all sources within these exceed no quota, whichever the sources are.
            self._any_records = min(self._records, self._sources_max)
            self._any_bytes = min(self._bytes, self._all_bytes)
            self._any_pixels = min(self._pixels, self._all_pixels)

    def may_exceed(self, records: int, payload_bytes: int, pixels: int) -> bool:
        """Return whether `exceeded` must judge a chunk.

        Args:
            records: The number of chunks before it that have the same last window, of all sources.
            payload_bytes: Their bytes with those of the chunk.
            pixels: Their pixels with those of the chunk.
        """
        return self.enabled and (
            records >= self._any_records or payload_bytes > self._any_bytes or pixels > self._any_pixels
        )

    def exceeded(self, usage: Usage, chunk: Chunk) -> str | None:
        """Return what quota a chunk exceeds, for a dead letter; None if it is within all of them.

        Args:
            usage: What counts in the chunk's last window, not empty.
            chunk: The chunk.
        """
        _, _, name, _, _, _, _, _, _, _, size, pixels = chunk
        q, source = self._quotas, usage.get(name)
        if source is None:
            if len(usage) > self._sources_max:
                return f"the session has {q.session_sources_max} other sources of {chunk.modality} in this hop"
        elif source[0] >= self._records:
            return f"the source sends more than {q.source_records_per_s} records/s"
        elif source[1] + size > self._bytes:
            return f"the source sends more than {q.source_bytes_per_s} bytes/s"
        elif pixels and source[2] and source[2] + pixels > self._pixels:
            return f"the source sends more than {q.source_pixels_per_s} pixels/s (a JPEG counts an eighth)"
        _, all_bytes, all_pixels = usage[_ALL]
        if all_bytes + size > self._all_bytes:
            return f"the session sends more than {q.session_bytes_per_s} bytes/s of {chunk.modality}"
        if pixels and all_pixels and all_pixels + pixels > self._all_pixels:
            return f"the session sends more than {q.session_pixels_per_s} pixels/s (a JPEG counts an eighth)"
        return None


def count_chunk(usage: Usage, chunk: Chunk) -> None:
    """Count a chunk in its last window."""
    _, _, source, _, _, _, _, _, _, _, size, pixels = chunk
    counts = usage.get(source)
    if counts is None:
        usage[source] = [1, size, pixels]
        counts = usage.setdefault(_ALL, [0, 0, 0])
    else:
        counts[0] += 1
        counts[1] += size
        counts[2] += pixels
        counts = usage[_ALL]
    counts[1] += size
    counts[2] += pixels


# The sources whose sessions are counted in one period; those of further ones are not, so that memory is bounded.
COUNTED_SOURCES_MAX = 10_000


class OpenSessions:
    """The sessions to which each source of one log has sent in the current period of append time.

    A period begins at a record whose append time lies in another multiple of the length than that of the record before
    it, so append times that jump ahead or back change nothing for a reader who begins later. Each chunk that admission
    accepts counts, whatever its fate: after a restart a duplicate may be late, and the count must not depend on it.

    Attributes:
        periods: How many periods have begun.
    """

    __slots__ = ("_begin_us", "_end_us", "_first", "_length_us", "_others", "_sessions_max", "periods")

    def __init__(self, config: AlignmentConfig) -> None:
        self._sessions_max = None if config.quotas is None else config.quotas.source_sessions_max
        self._length_us = config.quota_period_us
        # By source: its first session. Nearly all sources have no other, and a set for each would take more memory.
        self._first: dict[str, str] = {}
        self._others: dict[str, set[str]] = {}
        self.clear()

    def clear(self) -> None:
        """Count anew, as if the next record were the first one of the log."""
        self._begin_us = self._end_us = self.periods = 0
        self._first.clear()
        self._others.clear()

    @property
    def enabled(self) -> bool:
        """Whether the settings have this quota."""
        return self._sessions_max is not None

    @property
    def end_us(self) -> int:
        """The append time (us) at which the current period ends."""
        return self._end_us

    def advance(self, appended_us: int) -> None:
        """Begin a period if a record is not of the current one."""
        if not self._begin_us <= appended_us < self._end_us:
            self._begin_us = appended_us // self._length_us * self._length_us
            self._end_us = self._begin_us + self._length_us
            self._first.clear()
            self._others.clear()
            self.periods += 1

    def count(self, session: str, source: str, appended_us: int) -> str | None:
        """Count an admitted chunk of the log; return what quota it exceeds, None if it is within it."""
        if not self._begin_us <= appended_us < self._end_us:
            self.advance(appended_us)
        first = self._first.get(source)
        if first == session or self._sessions_max is None:
            return None
        if first is None:
            if len(self._first) < COUNTED_SOURCES_MAX:
                self._first[source] = session
            return None
        others = self._others.setdefault(source, set())
        if session in others:
            return None
        if len(others) + 1 >= self._sessions_max:
            return (
                f"the source has sent to {self._sessions_max} other sessions of this partition within "
                f"{self._length_us / 1e6:g} s (quotas.source_sessions_max)"
            )
        others.add(session)
        return None
