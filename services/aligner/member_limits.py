"""The limits of a window's members (alignment.md, A10): how many there are of a modality, and the bytes that they take."""

from __future__ import annotations

from collections.abc import Sequence

from services.aligner.session import Stream
from services.contract.alignment_config import MEMBER_BYTES, NAME_CHARACTER_BYTES, AlignmentConfig, member_bytes
from services.contract.chunk import Chunk

_UNLIMITED = 1 << 62
_NONE = (0, 0)


class MemberLimits:
    """Decides which windows have room for a chunk.

    Members are counted by window only for streams that may be near a limit. For all others it is enough that no window can
    be full: each chunk takes at most one place of `Stream.room`, whatever the number of its windows.
    """

    def __init__(self, config: AlignmentConfig) -> None:
        self._size_us, self._members_max = config.size_us, config.members_max
        self._bytes_max = _UNLIMITED if config.members_bytes_max is None else config.members_bytes_max
        self._share = self._bytes_max // config.members_max
        # Where less is left, windows are counted for each chunk, and not again and again.
        self._room_min = max(config.members_max // 8, 1)
        # Nearly all members take less than their share of the record; those of longer names use that of others.
        self.name_characters_max = (self._share - MEMBER_BYTES) // NAME_CHARACTER_BYTES

    def windows_with_room(
        self, stream: Stream, open_starts: Sequence[int], chunk: Chunk, starts: range
    ) -> Sequence[int]:
        """Return the windows that have room for a chunk, and give it a place in them.

        Args:
            stream: The stream of the chunk.
            open_starts: The open windows of its session.
            chunk: The chunk.
            starts: The windows that it overlaps and that are open for its stream, whether they exist or not.
        """
        excess = max(member_bytes(chunk.source, chunk.id) - self._share, 0)
        if stream.counts is None:
            # From now on each chunk is counted here, until no window is near a limit.
            stream.counts, stream.room = self._count(stream, open_starts), 0
        counts, members_max = stream.counts, self._members_max
        room = members_max - max([members for members, _ in counts.values()], default=0)
        if not excess and room >= self._room_min and not any(used for _, used in counts.values()):
            stream.counts, stream.room = None, room - 1
            return starts
        entered: list[int] = []
        for start_us in starts:
            members, used = counts.get(start_us, _NONE)
            if members < members_max and (
                not (excess or used) or (members + 1) * self._share + used + excess <= self._bytes_max
            ):
                counts[start_us] = members + 1, used + excess
                entered.append(start_us)
        return entered

    def _count(self, stream: Stream, open_starts: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Count the members of each open window; none of them takes more than its share, or they were counted already."""
        return {
            start_us: (sum([len(p.chunks_in(start_us, start_us + self._size_us)) for p in stream.panes.values()]), 0)
            for start_us in open_starts
        }
