"""A recorded stream as records: what each device sends, in order of arrival. Never opens the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.homestream import SOURCES, Received, read_messages, render_microphone
from services.contract import cloudevents

PCM = "audio/pcm;rate=8000;channels=1;format=s16le"
PNG = b"\x89PNG"


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One record to send: when it arrives (stream us), to which modality's topic, and what."""

    arrived_us: int
    modality: str
    headers: list[tuple[str, bytes]]
    value: bytes


@dataclass(frozen=True, slots=True)
class RecordedStream:
    """A stream's messages and the samples of its microphone."""

    name: str
    messages: tuple[Received, ...]
    audio: NDArray[np.int16]

    def records_between(self, session: str, origin_us: int, from_us: int, to_us: int) -> Iterator[StreamRecord]:
        """Yield the records captured from from_us on that arrive before to_us, then one session end for each source.

        origin_us: the event time of stream second 0. A copy (same source and sequence) repeats id, time and bytes of
        the first; the clocks of devices are not corrected.
        """
        for message in self.messages:
            if from_us <= message.t_us and message.arrived_us < to_us:
                yield self._sending(session, origin_us, message)
        for source, modality in SOURCES.items():
            headers = cloudevents.build_headers(
                session=session,
                source=cloudevents.device_source(self.name, source),
                id=f"end-{to_us}",
                type=cloudevents.SESSION_END_TYPE,
                t_us=origin_us + to_us,
                content_type="application/json",
            )
            yield StreamRecord(to_us, modality, headers, b"")

    def all_records(self, session: str, origin_us: int) -> Iterator[StreamRecord]:
        """Yield every record and no session end: a recording that stops does not say that the session is over."""
        for message in self.messages:
            yield self._sending(session, origin_us, message)

    def _sending(self, session: str, origin_us: int, message: Received) -> StreamRecord:
        kind, value = cloudevents.media_type(message.modality), b""
        if message.sound is not None:
            content_type, value = PCM, self.audio[slice(*message.sound)].astype("<i2").tobytes()
        elif message.picture is not None:
            value = message.picture if isinstance(message.picture, bytes) else message.picture.read_bytes()
            content_type = "image/png" if value.startswith(PNG) else "image/jpeg"
        elif message.text is not None:
            content_type, value = "text/plain; charset=utf-8", message.text.encode()
        else:
            content_type, kind = "image/jpeg", cloudevents.ALIVE_TYPE
        headers = cloudevents.build_headers(
            session=session,
            source=cloudevents.device_source(self.name, message.source),
            id=str(message.sequence),
            type=kind,
            t_us=origin_us + message.t_us,
            content_type=content_type,
            extensions=[("ce_sequence", str(message.sequence))],
        )
        return StreamRecord(message.arrived_us, message.modality, headers, value)


def read_stream(data: Path, name: str) -> RecordedStream:
    """Read the home stream `name`, such as S01, of a data folder."""
    streams = data / "homestream"
    return read_stream_files(name, streams / f"{name}.events.jsonl", streams / f"{name}.audio.json", data)


def read_stream_files(name: str, events: Path, mix: Path, root: Path) -> RecordedStream:
    """Read a stream of the same form; root: the folder of the data sets that its files name."""
    return RecordedStream(name, tuple(read_messages(events, root)), render_microphone(mix, root))
