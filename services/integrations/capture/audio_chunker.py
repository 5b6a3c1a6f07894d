"""Audio in small pieces, joined to chunks without gaps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE_BYTES = 2
# Devices deliver 10 to 60 ms at a time; chunks of 200 ms are short enough for windows that hop by 500 ms.
CHUNK_US = 200_000


@dataclass(frozen=True, slots=True)
class PcmChunk:
    """16-bit samples of one format, with the times of their begin and end."""

    t_us: int
    ends_us: int
    rate: int
    channels: int
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type with rate and channels."""
        return f"audio/pcm;rate={self.rate};channels={self.channels};format=s16le"


class AudioChunker:
    """Times samples by counting them; a piece that begins more than `pause_us` after the last one starts the count anew."""

    def __init__(self, pause_us: int) -> None:
        self._pause_us = pause_us
        self._rate, self._channels = 0, 1
        self._begins_us = self._samples = 0  # since the count began
        self._pending = bytearray()

    @property
    def ends_us(self) -> int:
        """The end of the audio so far."""
        return self._at_us(self._samples + self._frames)

    def add(self, body: bytes, rate: int, channels: int, t_us: int) -> Iterator[PcmChunk]:
        """Add a piece that begins at `t_us` by the caller's clock; yield chunks that are long enough."""
        if (rate, channels) != (self._rate, self._channels) or t_us - self.ends_us > self._pause_us:
            yield from self.flush()
            self._rate, self._channels = rate, channels
            self._begins_us, self._samples = t_us, 0
        self._pending += body
        if self._frames * 1_000_000 >= CHUNK_US * rate:
            yield from self.flush()

    def flush(self) -> Iterator[PcmChunk]:
        """Yield what is left."""
        if not self._pending:
            return
        body, t_us, ends_us = bytes(self._pending), self._at_us(self._samples), self.ends_us
        self._samples += self._frames
        self._pending.clear()
        yield PcmChunk(t_us, ends_us, self._rate, self._channels, body)

    @property
    def _frames(self) -> int:
        return len(self._pending) // (SAMPLE_BYTES * self._channels)

    def _at_us(self, samples: int) -> int:
        return self._begins_us + (samples * 1_000_000 // self._rate if self._rate else 0)
