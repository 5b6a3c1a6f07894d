"""Quotas of sources and sessions: a function of one modality's log, like the limit of members in a window.

A chunk counts in the last window that it overlaps, and only if it is a member there. These chunks are retained until that
window is emitted: whenever a restart judges another chunk of the window, it has read them again and counted the same
(alignment.md, A10).
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

    def exceeded(self, usage: Usage, chunk: Chunk) -> str | None:
        """Return what quota a chunk exceeds, for a dead letter; None if it is within all of them.

        Args:
            usage: What counts in the chunk's last window, not empty.
            chunk: The chunk.
        """
        if not self.enabled:
            return None
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
