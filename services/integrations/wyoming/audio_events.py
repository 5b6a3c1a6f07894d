"""The decoder of one satellite's events: audio chunks without gaps, and transcripts as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event

from services.contract import canonical, cloudevents, media_headers
from services.contract.alignment_config import AdmissionLimits
from services.contract.dead_letter import Rejected
from services.integrations.capture.audio_chunker import SAMPLE_BYTES, AudioChunker, PcmChunk
from services.integrations.wyoming.protocol import ProtocolError

# A satellite that was silent for so long has paused; audio that only waited in buffers (the broker was slow) has not.
PAUSE_US = 2_000_000


@dataclass(frozen=True, slots=True)
class MediaRecord:
    """One record for a media topic, and the event time at which it ends."""

    modality: str
    headers: list[tuple[str, bytes]]
    body: bytes
    ends_us: int


class SatelliteDecoder:
    """Decodes the events of one connection in order.

    Audio is timed by counting samples from the first that arrived: Wyoming's own time stamps may be missing, and follow
    the satellite's clock.

    Args:
        session: The session of the records.
        name: The name of the satellite in `ce_source`.
        connection: Makes record ids unique.
        limits: Limits of the payloads.
    """

    def __init__(self, session: str, name: str, connection: str, limits: AdmissionLimits) -> None:
        self._session, self._name, self._connection, self._limits = session, name, connection, limits
        self._count = 0
        self._chunker = AudioChunker(PAUSE_US)
        self._untranscribed_us: int | None = None  # end of the audio that the next transcript is about

    @property
    def ends_us(self) -> int:
        """The event time at which the audio so far ends."""
        return self._chunker.ends_us

    def decode(self, event: Event, now_us: int, waited_us: int = 0) -> Iterator[MediaRecord]:
        """Yield the records of an event that arrived at `now_us` after the connection was idle for `waited_us`.

        Raises:
            ProtocolError: The event cannot be accepted.
        """
        if AudioStart.is_type(event.type):
            yield from self.flush()
            self._chunker = AudioChunker(PAUSE_US)
        elif AudioChunk.is_type(event.type):
            yield from self._chunk(event, now_us, waited_us)
        elif AudioStop.is_type(event.type):
            yield from self.flush()
        elif Transcript.is_type(event.type):
            yield from self._transcript(event.data, now_us)

    def flush(self) -> Iterator[MediaRecord]:
        """Yield what is left when the audio or the connection ends."""
        return map(self._audio_record, self._chunker.flush())

    def _chunk(self, event: Event, now_us: int, waited_us: int) -> Iterator[MediaRecord]:
        body, format = event.payload or b"", event.data
        if not body:
            return
        if format.get("width") != SAMPLE_BYTES:
            raise ProtocolError("format", f"samples must have {SAMPLE_BYTES} bytes")
        content_type = f"audio/pcm;rate={format.get('rate')};channels={format.get('channels')};format=s16le"
        info = media_headers.measure_audio(content_type, body)
        if isinstance(info, Rejected):
            raise ProtocolError(info.reason.value, info.detail)
        t_us = now_us - info.duration_us
        if self.ends_us and waited_us < PAUSE_US:
            t_us = min(t_us, self.ends_us)
        yield from map(self._audio_record, self._chunker.add(body, info.rate, info.channels, t_us))
        self._untranscribed_us = self._chunker.ends_us

    def _audio_record(self, chunk: PcmChunk) -> MediaRecord:
        return self._record("audio", chunk.content_type, chunk.body, chunk.t_us, chunk.ends_us)

    def _transcript(self, data: dict[str, Any], now_us: int) -> Iterator[MediaRecord]:
        """Yield a text at the end of the audio that it is about, which is when it was spoken; else now."""
        text, language = data.get("text"), data.get("language")
        if not isinstance(text, str) or not text.strip():
            return
        t_us = now_us if self._untranscribed_us is None else min(self._untranscribed_us, now_us)
        self._untranscribed_us = None
        if isinstance(language, str):
            content_type, body = "application/json", canonical.dumps({"text": text, "language": language})
        else:
            content_type, body = "text/plain; charset=utf-8", text.encode(errors="replace")
        if len(body) > self._limits.text_bytes_max:
            raise ProtocolError(
                "text", f"a transcript of {len(body)} bytes; at most {self._limits.text_bytes_max} are accepted"
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
