"""Plans of what devices send, in milliseconds, and their Kafka records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from services.contract import cloudevents
from tests.simulation.broker import FakeRecord

EPOCH_MS = 1_700_000_000_000
TYPES = {"audio": "audio/pcm;rate=8000;channels=1;format=s16le", "text": "text/plain", "video": "image/jpeg"}
_PCM_BYTES_PER_MS = 16
_JPEG = b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03"  # up to the size of the image, 8 x 8


@dataclass(frozen=True, slots=True)
class Sent:
    """One record: `at` is its append time, `t` its capture time by the clock of the device; 0.001 is 1 us.

    duration: the value of ce_duration; the length of audio follows from its bytes.
    """

    at: float
    modality: str
    t: float
    length: int = 0
    session: str = "av"
    source: str = "d"
    id: str = ""
    content: int = 1
    duration: str = ""
    end: bool = False


def frames(start: float, stop: float, every: int = 250, *, behind: float = 0, **more: Any) -> list[Sent]:
    """Return frames of [start, stop), each appended `behind` ms after its timestamp (below 0: the clock is fast)."""
    return [Sent(t + behind, "video", t, **more) for t in _steps(start, stop, every)]


def sound(start: float, stop: float, length: int = 500, **more: Any) -> list[Sent]:
    """Return audio without gaps over [start, stop), each chunk appended at its end."""
    return [Sent(t + length, "audio", t, length, **more) for t in _steps(start, stop, length)]


def texts(times: Iterable[float], **more: Any) -> list[Sent]:
    """Return text messages, each appended at once."""
    return [Sent(t, "text", t, **more) for t in times]


def record_of(sent: Sent, offset: int, timestamp: int) -> FakeRecord:
    """Return the Kafka record of what a device sends."""
    kind = cloudevents.SESSION_END_TYPE if sent.end else cloudevents.media_type(sent.modality)
    headers = cloudevents.build_headers(
        session=sent.session,
        source=sent.source,
        id=sent.id or f"{sent.t:.10g}",
        type=kind,
        t_us=EPOCH_MS * 1000 + round(sent.t * 1000),
        content_type=TYPES[sent.modality],
        extensions=[("ce_duration", sent.duration)] if sent.duration else [],
    )
    body = b"" if sent.end else _body(sent.modality, sent.length, sent.content)
    return FakeRecord(offset, timestamp, sent.session.encode(), body, headers)


@lru_cache
def _body(modality: str, length: int, content: int) -> bytes:
    if modality == "audio":
        return bytes([content, 1]) * (length * _PCM_BYTES_PER_MS // 2)
    return f"text {content}".encode() if modality == "text" else _JPEG + bytes([content]) * 8


def _steps(start: float, stop: float, every: int) -> Iterator[float]:
    while start < stop:
        yield start
        start += every
