"""What one satellite's events lead to: records of sound on one time line, and of what was understood. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from services.bridges.wyoming.refused import Refused
from services.contract import canonical, envelope
from services.contract.media import sound
from services.contract.reason import Rejected
from services.contract.semantics import Admission

# Satellites send 10 to 60 ms at a time; records of a fifth of a second are enough for windows of half a second's hop.
CHUNK_US = 200_000
# So far behind now is no jitter of a network: the satellite paused.
PAUSE_US = 2_000_000
SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Record:
    """One record for a media topic; ends_us: where it ends in event time."""

    modality: str
    headers: list[tuple[str, bytes]]
    body: bytes
    ends_us: int


class Hearing:
    """One connection: `heard` takes its events in order and answers with records.

    Sound is timed by counting samples from the first that arrived: Wyoming's own time stamps may be missing, and stand
    on a clock of the satellite's. name: of the satellite, as it stands in `ce_source`; connection: makes ids unique.
    """

    def __init__(self, session: str, name: str, connection: str, limits: Admission) -> None:
        self._session, self._name, self._connection, self._limits = session, name, connection, limits
        self._count = 0
        self._content_type = ""
        self._frame_bytes, self._rate = SAMPLE_BYTES, 0
        self._begins_us = self._samples = 0  # of the time line: its first sample, and how many have been told
        self._sound = bytearray()
        self._spoken_us: int | None = None  # the end of sound that no transcript has told of yet

    @property
    def ends_us(self) -> int:
        """Where the sound that came so far ends, in event time."""
        return self._at_us(self._samples + len(self._sound) // self._frame_bytes)

    def heard(self, event: Event, now_us: int) -> Iterator[Record]:
        """The records of one event at an instant of the wall clock. Raises Refused."""
        if AudioStart.is_type(event.type):
            yield from self._flush()
            self._content_type = ""
        elif AudioChunk.is_type(event.type):
            yield from self._chunk(event, now_us)
        elif AudioStop.is_type(event.type):
            yield from self._flush()
        elif Transcript.is_type(event.type):
            yield from self._transcript(event.data, now_us)

    def end(self) -> Iterator[Record]:
        """What is left when the connection ends."""
        return self._flush()

    def _chunk(self, event: Event, now_us: int) -> Iterator[Record]:
        body, given = event.payload or b"", event.data
        if not body:
            return
        if given.get("width") != SAMPLE_BYTES:
            raise Refused("format", f"samples of {SAMPLE_BYTES} bytes are read")
        content_type = f"audio/pcm;rate={given.get('rate')};channels={given.get('channels')};format=s16le"
        measured = sound.measure(content_type, body)
        if isinstance(measured, Rejected):
            raise Refused(measured.reason.value, measured.detail)
        if content_type != self._content_type or now_us - self.ends_us - measured.duration_us > PAUSE_US:
            yield from self._flush()
            self._content_type, self._rate = content_type, measured.rate
            self._frame_bytes = SAMPLE_BYTES * measured.channels
            self._begins_us, self._samples = now_us - measured.duration_us, 0
        self._sound += body
        self._spoken_us = self.ends_us
        if len(self._sound) // self._frame_bytes * 1_000_000 >= CHUNK_US * self._rate:
            yield from self._flush()

    def _flush(self) -> Iterator[Record]:
        """Everything that waits; a payload has no more bytes than an event may have, and those are fewer than a record's."""
        if not self._sound:
            return
        body, t_us = bytes(self._sound), self._at_us(self._samples)
        self._samples += len(body) // self._frame_bytes
        self._sound.clear()
        yield self._record("audio", self._content_type, body, t_us, self.ends_us)

    def _transcript(self, given: dict[str, Any], now_us: int) -> Iterator[Record]:
        """At the end of the sound that it tells of, which is when it was said; else now."""
        text, language = given.get("text"), given.get("language")
        if not isinstance(text, str) or not text.strip():
            return
        t_us = now_us if self._spoken_us is None else min(self._spoken_us, now_us)
        self._spoken_us = None
        if isinstance(language, str):
            content_type, body = "application/json", canonical.dumps({"text": text, "language": language})
        else:
            content_type, body = "text/plain; charset=utf-8", text.encode(errors="replace")
        if len(body) > self._limits.text_bytes_max:
            raise Refused("text", f"a transcript of {len(body)} bytes, at most {self._limits.text_bytes_max} are taken")
        yield self._record("text", content_type, body, t_us, t_us)

    def _record(self, modality: str, content_type: str, body: bytes, t_us: int, ends_us: int) -> Record:
        self._count += 1
        headers = envelope.build(
            session=self._session,
            source=envelope.source_of(self._name, modality),
            id=f"{self._connection}-{self._count}",
            type=envelope.media_type(modality),
            t_us=t_us,
            content_type=content_type,
        )
        return Record(modality, headers, body, ends_us)

    def _at_us(self, samples: int) -> int:
        return self._begins_us + (samples * 1_000_000 // self._rate if self._rate else 0)
