"""Panes: each chunk of a stream is kept once, and a window is a range of panes.

Two windows of `size_us` that begin `hop_us` apart share all but one hop of their chunks. To enter a chunk into each of its
`size / hop` windows would cost as many times as much. A pane holds the chunks whose last window is the same, and a window
takes the panes from its own one on. What windows share (order, members and their texts) is made once for a pane.

Source: Carbone et al., "Cutty: Aggregate Sharing for User-Defined Windows" (CIKM 2016); Traub et al., "Scotty: General and
Efficient Open-source Window Aggregation for Stream Processing Systems" (ACM TODS 2021).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from services.contract.chunk import Chunk
from services.contract.quotas import Usage, count_chunk
from services.contract.window import Member, MemberTexts, join_texts

Identity = tuple[str, str, int, int]
# Shared by all panes without such chunks, so that most need no container of their own. They are never changed.
_NONE_LIMITED: dict[int, Collection[int]] = {}
_ALL_COUNTED: frozenset[int] = frozenset()
_ALWAYS_US = -(1 << 62)


class Pane:
    """The chunks of a stream whose last window is the same.

    Args:
        last_us: Start of their last window.
        chunk: The first of them; `add` follows.

    Attributes:
        offset: Offset of the first chunk, which is the smallest.
        chunks: The chunks by identity, in order of arrival.
        earliest_us: Their smallest event time.
        latest_us: Their largest event time.
        opened_us: Their smallest append time.
        payload_bytes: Bytes of their payloads.
        pixels: Pixels of their payloads.
        windows_from_us: From this start on, all windows up to the last one exist.
        complete_from_us: From this start on, no chunk is missing in a window that it overlaps.
        made: All chunks as members, if that was made and no chunk was added since.
    """

    __slots__ = (
        "_in_order",
        "_limited_to",
        "_uncounted",
        "_usage",
        "chunks",
        "complete_from_us",
        "earliest_us",
        "last_us",
        "latest_us",
        "made",
        "offset",
        "opened_us",
        "payload_bytes",
        "pixels",
        "windows_from_us",
    )

    def __init__(self, last_us: int, chunk: Chunk) -> None:
        self.last_us, self.offset, self.opened_us = last_us, chunk.offset, chunk.appended_us
        self.earliest_us, self.latest_us = chunk.t_us, chunk.t_us - 1
        self.chunks: dict[Identity, Chunk] = {}
        self.payload_bytes = self.pixels = 0
        self.windows_from_us, self.complete_from_us = last_us + 1, _ALWAYS_US
        self._in_order = True
        # By offset, the windows of each chunk that is not in all windows that it overlaps.
        self._limited_to = _NONE_LIMITED
        self.made: Members | None = None
        self._usage: Usage | None = None
        self._uncounted = _ALL_COUNTED

    def add(self, identity: Identity, chunk: Chunk) -> None:
        """Add a chunk, which counts against quotas here."""
        _, _, _, _, t_us, _, _, _, _, appended_us, payload_bytes, pixels = chunk
        self.chunks[identity] = chunk
        self.made = None
        if t_us > self.latest_us:
            self.latest_us = t_us
        else:
            self._in_order = False
            if t_us < self.earliest_us:
                self.earliest_us = t_us
        if appended_us < self.opened_us:
            self.opened_us = appended_us
        self.payload_bytes += payload_bytes
        self.pixels += pixels
        if self._usage is not None:
            count_chunk(self._usage, chunk)

    def limit(self, offset: int, starts: Collection[int], complete_from_us: int) -> None:
        """Take a chunk out of all windows but these; from `complete_from_us` on it is in all that it overlaps."""
        if self._limited_to is _NONE_LIMITED:
            self._limited_to = {}
        self._limited_to[offset] = starts
        self.complete_from_us = max(complete_from_us, self.complete_from_us)

    def do_not_count(self, offset: int) -> None:
        """Note that a chunk does not count against quotas here: its last window had no room for it."""
        self._uncounted, self._usage = self._uncounted | {offset}, None

    def usage(self) -> Usage:
        """Return what counts against quotas; it is only made for streams that send much."""
        if self._usage is None:
            self._usage = {}
            for chunk in self.chunks.values():
                if chunk.offset not in self._uncounted:
                    count_chunk(self._usage, chunk)
        return self._usage

    def chunks_in(self, start_us: int, end_us: int) -> Collection[Chunk]:
        """Return the chunks that are in a window, in order of arrival."""
        if self.last_us < start_us or self.earliest_us >= end_us:
            return ()
        chunks, limited_to = self.chunks.values(), self._limited_to
        if self.latest_us < end_us and self.complete_from_us <= start_us:
            return chunks
        # What ends in the last window or later, and begins before the end of a window, overlaps it.
        return [
            chunk
            for chunk in chunks
            if chunk.t_us < end_us and (chunk.offset not in limited_to or start_us in limited_to[chunk.offset])
        ]

    def make_all(self) -> Members:
        """Make all chunks members of a window."""
        chunks = list(self.chunks.values())
        if not self._in_order:
            chunks.sort(key=_order)
        self.made = Members(chunks, self.opened_us)
        return self.made

    def make_some(self, start_us: int, end_us: int) -> Members | None:
        """Make those chunks members that are in a window; return None if there are none."""
        chunks = self.chunks_in(start_us, end_us)
        return Members(sorted(chunks, key=_order), min([chunk.appended_us for chunk in chunks])) if chunks else None


class Members:
    """Members of a window, in order.

    Args:
        chunks: The chunks, in order and at least one.
        opened_us: Their smallest append time.

    Attributes:
        members: The members.
        records: Their texts in the record.
        digests: Their texts in the input of the digest.
        first_us: The smallest event time.
        latest_us: The largest event time.
        opened_us: The smallest append time.
    """

    __slots__ = ("digests", "first_us", "latest_us", "members", "opened_us", "records")

    def __init__(self, chunks: Sequence[Chunk], opened_us: int) -> None:
        self.members = [
            Member(source, id, t_us, duration_us, sha256, partition, offset)
            for _, _, source, id, t_us, duration_us, sha256, partition, offset, _, _, _ in chunks
        ]
        self.records, self.digests = join_texts(self.members)
        self.first_us, self.latest_us, self.opened_us = chunks[0].t_us, chunks[-1].t_us, opened_us


class WindowChunks(NamedTuple):
    """The members of one stream in a window.

    Attributes:
        members: In order of event time.
        texts: Their joined texts if panes had these.
        opened_us: Smallest append time.
    """

    members: tuple[Member, ...]
    texts: MemberTexts | None
    opened_us: int


def collect_members(panes: Iterable[Pane], start_us: int, end_us: int) -> WindowChunks | None:
    """Return the members of a stream's panes in a window; None if there are none."""
    parts: list[Members] = []
    latest_us, in_order = _ALWAYS_US, True
    for pane in panes:
        if pane.last_us < start_us or pane.earliest_us >= end_us:
            continue
        part: Members | None
        if pane.latest_us < end_us and pane.complete_from_us <= start_us:
            part = pane.made or pane.make_all()
        else:
            part = pane.make_some(start_us, end_us)
            if part is None:
                continue
        # Chunks of different durations can have another order by their end, which decides about the pane.
        if part.first_us <= latest_us:
            in_order = False
        latest_us = part.latest_us
        parts.append(part)
    if not parts:
        return None
    members = tuple(chain.from_iterable([part.members for part in parts]))
    opened_us = min([part.opened_us for part in parts])
    if not in_order:
        return WindowChunks(tuple(sorted(members, key=_order)), None, opened_us)
    texts = ",".join([part.records for part in parts]), ",".join([part.digests for part in parts])
    return WindowChunks(members, texts, opened_us)


def _order(member: Chunk | Member) -> tuple[int, str, str, int]:
    # Two chunks that differ in their duration alone stay in order of arrival.
    return member.t_us, member.source, member.id, member.offset
