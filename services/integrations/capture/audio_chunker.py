"""Sound that arrives in small pieces, as records on one time line without gaps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE_BYTES = 2
# Devices hand over 10 to 60 ms at a time; records of a fifth of a second are enough for windows of half a second's hop.
CHUNK_US = 200_000


@dataclass(frozen=True, slots=True)
class PcmChunk:
    """16-bit samples of one format; t_us: of the first, ends_us: of the end of the last."""

    t_us: int
    ends_us: int
    rate: int
    channels: int
    body: bytes

    @property
    def content_type(self) -> str:
        return f"audio/pcm;rate={self.rate};channels={self.channels};format=s16le"


class AudioChunker:
    """Counts samples from the first on; a piece that begins more than pause_us after its turn begins a new line."""

    def __init__(self, pause_us: int) -> None:
        self._pause_us = pause_us
        self._rate, self._channels = 0, 1
        self._begins_us = self._samples = 0  # of the line: its first sample, and how many have been told
        self._waiting = bytearray()

    @property
    def ends_us(self) -> int:
        """Where the sound that came so far ends."""
        return self._at_us(self._samples + self._frames)

    def add(self, body: bytes, rate: int, channels: int, t_us: int) -> Iterator[PcmChunk]:
        """The next piece, by the clock of whoever brings it at t_us; answers with what is long enough to be told."""
        if (rate, channels) != (self._rate, self._channels) or t_us - self.ends_us > self._pause_us:
            yield from self.flush()
            self._rate, self._channels = rate, channels
            self._begins_us, self._samples = t_us, 0
        self._waiting += body
        if self._frames * 1_000_000 >= CHUNK_US * rate:
            yield from self.flush()

    def flush(self) -> Iterator[PcmChunk]:
        """Everything that waits."""
        if not self._waiting:
            return
        body, t_us, ends_us = bytes(self._waiting), self._at_us(self._samples), self.ends_us
        self._samples += self._frames
        self._waiting.clear()
        yield PcmChunk(t_us, ends_us, self._rate, self._channels, body)

    @property
    def _frames(self) -> int:
        return len(self._waiting) // (SAMPLE_BYTES * self._channels)

    def _at_us(self, samples: int) -> int:
        return self._begins_us + (samples * 1_000_000 // self._rate if self._rate else 0)
