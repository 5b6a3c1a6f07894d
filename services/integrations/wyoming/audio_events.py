"""What one satellite's events lead to: records of sound on one time line, and of what was understood. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from services.contract import canonical, cloudevents, media
from services.contract.alignment_config import AdmissionLimits
from services.contract.dead_letter import Rejected
from services.integrations.capture.audio_chunker import SAMPLE_BYTES, AudioChunker, PcmChunk
from services.integrations.wyoming.protocol import ProtocolError

# Waited for so long, a satellite has paused; what has only waited in buffers (a broker was slow) is no pause.
PAUSE_US = 2_000_000


@dataclass(frozen=True, slots=True)
class MediaRecord:
    """One record for a media topic; ends_us: where it ends in event time."""

    modality: str
    headers: list[tuple[str, bytes]]
    body: bytes
    ends_us: int


class SatelliteDecoder:
    """One connection: `heard` takes its events in order and answers with records.

    Sound is timed by counting samples from the first that arrived: Wyoming's own time stamps may be missing, and stand
    on a clock of the satellite's. name: of the satellite, as it stands in `ce_source`; connection: makes ids unique.
    """

    def __init__(self, session: str, name: str, connection: str, limits: AdmissionLimits) -> None:
        self._session, self._name, self._connection, self._limits = session, name, connection, limits
        self._count = 0
        self._line = AudioChunker(PAUSE_US)
        self._spoken_us: int | None = None  # the end of sound that no transcript has told of yet

    @property
    def ends_us(self) -> int:
        """Where the sound that came so far ends, in event time."""
        return self._line.ends_us

    def decode(self, event: Event, now_us: int, waited_us: int = 0) -> Iterator[MediaRecord]:
        """The records of one event at an instant of the wall clock, for which was waited so long. Raises Refused."""
        if AudioStart.is_type(event.type):
            yield from self.flush()
            self._line = AudioChunker(PAUSE_US)
        elif AudioChunk.is_type(event.type):
            yield from self._chunk(event, now_us, waited_us)
        elif AudioStop.is_type(event.type):
            yield from self.flush()
        elif Transcript.is_type(event.type):
            yield from self._transcript(event.data, now_us)

    def flush(self) -> Iterator[MediaRecord]:
        """What is left when the sound or the connection ends."""
        return map(self._told, self._line.flush())

    def _chunk(self, event: Event, now_us: int, waited_us: int) -> Iterator[MediaRecord]:
        body, given = event.payload or b"", event.data
        if not body:
            return
        if given.get("width") != SAMPLE_BYTES:
            raise ProtocolError("format", f"samples of {SAMPLE_BYTES} bytes are read")
        content_type = f"audio/pcm;rate={given.get('rate')};channels={given.get('channels')};format=s16le"
        measured = media.measure_audio(content_type, body)
        if isinstance(measured, Rejected):
            raise ProtocolError(measured.reason.value, measured.detail)
        t_us = now_us - measured.duration_us
        if self.ends_us and waited_us < PAUSE_US:
            t_us = min(t_us, self.ends_us)
        yield from map(self._told, self._line.add(body, measured.rate, measured.channels, t_us))
        self._spoken_us = self._line.ends_us

    def _told(self, piece: PcmChunk) -> MediaRecord:
        return self._record("audio", piece.content_type, piece.body, piece.t_us, piece.ends_us)

    def _transcript(self, given: dict[str, Any], now_us: int) -> Iterator[MediaRecord]:
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
            raise ProtocolError(
                "text", f"a transcript of {len(body)} bytes, at most {self._limits.text_bytes_max} are taken"
            )
        yield self._record("text", content_type, body, t_us, t_us)

    def _record(self, modality: str, content_type: str, body: bytes, t_us: int, ends_us: int) -> MediaRecord:
        self._count += 1
        headers = cloudevents.build_headers(
            session=self._session,
            source=cloudevents.device_source(self._name, modality),
            id=f"{self._connection}-{self._count}",
            type=cloudevents.media_type(modality),
            t_us=t_us,
            content_type=content_type,
        )
        return MediaRecord(modality, headers, body, ends_us)
