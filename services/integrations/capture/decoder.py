"""The decoder of a camera, a microphone or a file, by PyAV: frames and audio with the stream's own times."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.contract.user_errors import BraidError
from services.integrations.capture.source_address import CaptureSource

TIMEOUT_S = (10.0, 5.0)  # to open, to read
RATE, CHANNELS = 16_000, 1
SIDE_MAX, JPEG_QUALITY = 640, 85


class CaptureError(BraidError):
    """A source that cannot be opened; the message never holds a password."""


class SourceLost(Exception):
    """A live source that ended or cannot be read any more."""


@dataclass(frozen=True, slots=True)
class CapturedItem:
    """A JPEG, or 16-bit samples of RATE and CHANNELS; times in us of the stream's own clock."""

    is_audio: bool
    begins_us: int
    ends_us: int
    body: bytes


class CaptureDecoder:
    """One open source, made and read in one thread; `fps` is the highest frame rate."""

    def __init__(self, source: CaptureSource, fps: float, pixels_max: int, from_s: float = 0) -> None:
        try:
            import av
        except ImportError:
            raise CaptureError("Cameras and microphones need PyAV: pip install 'braid[av]'") from None
        self._errors = av.error.FFmpegError
        known = [name for name in source.formats if name in _names(av.formats_available)]
        try:
            self._container: Any = av.open(
                source.url, format=known[0] if known else None, options=dict(source.options), timeout=TIMEOUT_S
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            # Not the whole message: it quotes the address, which may have a password.
            why = getattr(error, "strerror", None) or type(error).__name__
            raise CaptureError(f"{source.name}: {why}{source.hint}") from None
        streams = self._container.streams
        self._video, self._audio = next(iter(streams.video), None), next(iter(streams.audio), None)
        if self._video is None and self._audio is None:
            self.close()
            raise CaptureError(f"{source.name}: it has neither video nor audio")
        if self._video is not None and self._video.width * self._video.height > pixels_max:
            self.close()
            raise CaptureError(f"{source.name}: frames of more than {pixels_max} pixels")
        self._fps, self._resampler = fps, av.AudioResampler("s16", "mono" if CHANNELS == 1 else "stereo", RATE)
        self._from_us = round(from_s * 1e6)
        if from_s:
            self._container.seek(self._from_us)

    @property
    def description(self) -> str:
        """The streams of the source, for people."""
        video, audio = self._video, self._audio
        frames = [f"video of {video.width} x {video.height} ({video.codec_context.name})"] if video else []
        samples = [f"audio ({audio.codec_context.name})"] if audio else []
        return " and ".join(frames + samples)

    def items(self) -> Iterator[CapturedItem]:
        """Yield frames and audio as they come, without what cannot be decoded. Raises SourceLost."""
        streams = [s for s in (self._video, self._audio) if s is not None]
        slot: int | None = None
        try:
            for packet in self._container.demux(*streams):
                for frame in self._decoded(packet):
                    if packet.stream is self._audio:
                        yield from self._pieces(frame)
                        continue
                    begins_us = _us(frame)
                    if begins_us is None or begins_us < self._from_us or self._slot(begins_us) == slot:
                        continue
                    slot = self._slot(begins_us)
                    yield CapturedItem(False, begins_us, begins_us, _jpeg(frame))
        except (self._errors, OSError) as error:
            raise SourceLost(getattr(error, "strerror", None) or type(error).__name__) from None

    def close(self) -> None:
        """Close the device."""
        self._container.close()

    def _slot(self, begins_us: int) -> int:
        """Return the interval of the frame rate that a time is in; one frame of each is sent."""
        return int(begins_us * self._fps // 1_000_000)

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(packet.decode())
        except self._errors:
            return []

    def _pieces(self, frame: Any) -> Iterator[CapturedItem]:
        for piece in self._resampler.resample(frame):
            begins_us = _us(piece)
            if begins_us is None or begins_us < self._from_us:
                continue
            body = piece.to_ndarray().tobytes()
            yield CapturedItem(True, begins_us, begins_us + piece.samples * 1_000_000 // RATE, body)


def _us(frame: Any) -> int | None:
    return None if frame.pts is None else int(frame.pts * frame.time_base * 1_000_000)


def _jpeg(frame: Any) -> bytes:
    """Return a frame as JPEG, its longer side at most SIDE_MAX."""
    scale = min(1.0, SIDE_MAX / max(frame.width, frame.height))
    size = max(round(frame.width * scale), 1), max(round(frame.height * scale), 1)
    pixels = frame.to_ndarray(width=size[0], height=size[1], format="rgb24")
    matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    out = io.BytesIO()
    Image.fromarray(pixels if matrix is None else turn_upright(pixels, matrix)).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def turn_upright(pixels: NDArray[np.uint8], matrix: bytes) -> NDArray[np.uint8]:
    """Return pixels [height, width, 3] as a film's display matrix shows them: phones are held in any way.

    The matrix (ISO 14496-12, 6.2.2) maps (x, y) to (a x + c y, b x + d y); it is applied by quarter turns and mirrors.
    """
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        across, down = a, d
    else:
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _names(formats: Any) -> set[str]:
    return {name for entry in formats for name in entry.split(",")}
