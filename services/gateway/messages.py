"""Page messages: one small JSON for each record of a topic, as the page and the API show it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np

from services.contract import (
    canonical,
    cloudevents,
    dead_letter,
    event,
    media_headers,
    prediction,
    session_reset,
    tick,
    timestamps,
    trace_context,
)
from services.contract import window as window_record
from services.contract.admission import declared_duration_us
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import EMPTY_SHA256
from services.contract.cloudevents import Envelope
from services.contract.dead_letter import Rejected
from services.contract.event import event_id
from services.contract.kafka_record import KafkaRecord
from services.contract.media_headers import AudioInfo
from services.contract.prediction import LATENCY_HEADER, STATE_HEADER, TRACE_HEADER
from services.contract.record_fields import (
    ContractError,
    check_items,
    check_text,
    check_time_us,
    integer,
    session_of_key,
    time_us,
)
from services.contract.tick import Tick
from services.contract.topics import Topics
from services.contract.transcript import read_transcript

KINDS = ("chunk", "window", "prediction", "event", "late", "dead", "tick", "end")
PEAKS_PER_S, PEAKS_MAX = 40, 1_200
TEXT_MAX = 280
# Measured: Python's objects of a message with its places in the views and in the event stream, and those of its facts.
MESSAGE_BYTES, FACTS_BYTES = 400, 1_000
# Settings under which every source has a clock of its own.
DEVICE_CLOCKS = AlignmentConfig()
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PageMessage:
    """One thing that happened in a session, as JSON bytes.

    Attributes:
        kind: One of KINDS.
        session: The session that it is about.
        key: Its name within its kind and session; a later message of the same key replaces it.
        from_us: InitialState of the event time that it is about.
        to_us: End of that time.
        raw: What is sent to the page.
        full: The whole record where `raw` is a part of it.
        facts: What the summary of a session and the statistics of sources need of it.
        generation: The generation of its session if it is about a window, a prediction or an event, else None.
    """

    kind: str
    session: str
    key: str
    from_us: int
    to_us: int
    raw: bytes
    full: bytes | None = None
    facts: Mapping[str, Any] | None = None
    generation: int | None = None

    @property
    def size_bytes(self) -> int:
        """The approximate memory of the message with its objects and its places in the views and in the event stream."""
        objects = MESSAGE_BYTES if self.facts is None else MESSAGE_BYTES + FACTS_BYTES
        return objects + len(self.raw) + len(self.full or b"")


class MessageDecoder:
    """Decodes the records of all topics."""

    def __init__(self, topics: Topics, config: AlignmentConfig = DEVICE_CLOCKS) -> None:
        self._config, self._modality_of = config, {topics.media(m): m for m in topics.modalities}
        self._service: Mapping[str, Callable[[KafkaRecord], PageMessage]] = {
            topics.windows: window_message,
            topics.predictions: prediction_message,
            topics.events: event_message,
            topics.late: late_message,
            topics.dead: lambda record: dead_letter_message(record, self._modality_of),
        }

    def decode(self, record: KafkaRecord) -> Iterable[PageMessage]:
        """Yield the messages of a record: one, or one a session for an idle record. Raises ContractError."""
        modality = self._modality_of.get(record.topic)
        if modality is None:
            return (self._service[record.topic](record),)
        return media_messages(modality, record, self._config)


def window_message(record: KafkaRecord) -> PageMessage:
    """Return the states of a window's streams; `full` is the record. Raises ContractError."""
    window = window_record.decode(record.value or b"")
    body = {
        "id": window.id,
        "start_us": window.start_us,
        "end_us": window.end_us,
        "final": window.final,
        "modalities": {
            name: {"state": stream.state, "evidence": stream.evidence, "count": len(stream.members)}
            for name, stream in window.modalities.items()
        },
        "generation": window.generation,
    }
    return make_message(
        "window",
        window.session,
        window.id,
        window.start_us,
        window.end_us,
        body,
        full=record.value,
        generation=window.generation,
    )


def prediction_message(record: KafkaRecord) -> PageMessage:
    """Return a prediction with the latency and the event in its headers; `full` has its inputs too.

    Raises:
        ContractError: The record is not a prediction.
    """
    answer, headers = prediction.decode(record.value), dict(record.headers)
    session, span = answer["session"], answer["window"]
    generation = span.get("generation", 0)
    full = {
        **answer,
        "predicted_us": record.timestamp * 1000,
        "latency": _header(headers, LATENCY_HEADER),
        "event": _ongoing_event(session, generation, _header(headers, STATE_HEADER)),
        "trace_id": trace_context.trace_id_of_header(headers.get(TRACE_HEADER)),
    }
    facts = {name: answer[name] for name in ("label", "confidence", "final", "abstained", "id")}
    facts["states"] = {name: stream["state"] for name, stream in answer["modalities"].items()}
    return make_message(
        "prediction",
        session,
        answer["id"],
        span["start"],
        span["end"],
        {name: value for name, value in full.items() if name not in ("inputs", "session")},
        full=canonical.dumps(full),
        facts=facts,
        generation=generation,
    )


def event_message(record: KafkaRecord) -> PageMessage:
    """Return one step of an event. Raises ContractError."""
    step = event.decode(record.value)
    key = f"{step.id} {step.lifecycle} {step.label} {step.final}"
    facts = {
        "id": step.id,
        "lifecycle": step.lifecycle,
        "label": step.label,
        "kind": step.kind,
        "confidence": step.confidence,
        "final": step.final,
        "prediction": step.prediction,
    }
    body = {**canonical.loads_object(event.encode(step)), "said_us": record.timestamp * 1000}
    generation = event.generation_of(step.id)
    return make_message(
        "event", step.session, key, step.start_us, step.end_us, body, facts=facts, generation=generation
    )


def late_message(record: KafkaRecord) -> PageMessage:
    """Return a late chunk. Raises ContractError."""
    late = window_record.decode_late(record.value)
    body = {name: late[name] for name in ("modality", "source", "id", "t_us", "duration_us", "at", "behind_us")}
    key = f"{late['modality']} {late['at'][0]} {late['at'][1]}"
    facts = {"source": (late["modality"], late["source"])}
    end_us = late["t_us"] + late["duration_us"]
    return make_message("late", late["session"], key, late["t_us"], end_us, body, facts=facts)


def dead_letter_message(record: KafkaRecord, modality_of: Mapping[str, str]) -> PageMessage:
    """Return a rejected record with its reason; `modality_of` maps media topics. Raises ContractError."""
    session, letter = session_of_key(record.key), dead_letter.decode(record.value)
    stated = dead_letter.record_header(record.headers, "ce_time") or b""
    t_us = timestamps.parse(stated.decode(errors="replace"))
    appended_us = record.timestamp * 1000
    body = {
        "reason": letter["reason"],
        "detail": letter["detail"],
        "stage": letter["stage"],
        "modality": modality_of.get(letter["topic"]),
        "at": [letter["partition"], letter["offset"]],
        "t_us": appended_us if t_us is None else t_us,
    }
    key = f"{letter['topic']} {letter['partition']} {letter['offset']}"
    # It stands at its append time: a record rejected because of its clock must still appear among the newest.
    source = dead_letter.record_header(record.headers, "ce_source")
    facts = None
    if source is not None and isinstance(body["reason"], str):
        facts = {"source": (body["modality"], source.decode(errors="replace")), "reason": body["reason"]}
    return make_message("dead", session, key, appended_us, appended_us, body, facts=facts)


def media_messages(
    modality: str, record: KafkaRecord, config: AlignmentConfig = DEVICE_CLOCKS
) -> Iterator[PageMessage]:
    """Yield a chunk, a session end, or one message a session for an idle record; none for a reset. Raises ContractError."""
    if record.key is None:
        if cloudevents.raw_type(record.headers) == session_reset.RESET_TYPE.encode():
            return
        idle = tick.decode(record.value or b"")
        if not isinstance(idle, Tick):
            raise ContractError(idle.detail)
        for id, bound_us in idle.bounds.items():
            name, _ = session_reset.split_generation_id(id)
            body = {"modality": modality, "bound_us": bound_us, "evidence": idle.evidence}
            yield make_message("tick", name, f"{modality} {bound_us}", bound_us, bound_us, body)
        return
    session, envelope = session_of_key(record.key), cloudevents.parse_envelope(record.headers, record.value)
    if not isinstance(envelope, Envelope):
        raise ContractError(envelope.detail)
    source = envelope.get("source")
    by_append_time = config.uses_append_time(source)
    t_us = record.timestamp * 1000 if by_append_time else timestamps.parse(envelope.get("time"))
    if t_us is None:
        raise ContractError("no event time")
    if envelope.get("type") != cloudevents.SESSION_END_TYPE:
        yield _chunk_message(session, modality, t_us, envelope, record, by_append_time)
        return
    body = {"modality": modality, "source": source, "t_us": t_us}
    facts = {"source": (modality, source), "arrived_us": record.timestamp * 1000}
    yield make_message("end", session, f"{modality} {source}", t_us, t_us, body, facts=facts)


def media_path(session: str, modality: str, at: list[int], t_us: int, sha256: str) -> str:
    """Return the address of a member's bytes, relative to the page; `at` is its partition and offset."""
    query = urlencode({"session": session, "t_us": t_us, "sha256": sha256})
    return f"api/v1/media/{modality}/{at[0]}/{at[1]}?{query}"


def make_message(
    kind: str,
    session: str,
    key: str,
    from_us: int,
    to_us: int,
    body: Json,
    full: bytes | None = None,
    facts: Mapping[str, Any] | None = None,
    generation: int | None = None,
) -> PageMessage:
    """Encode a message. Raises ContractError if it has no JSON."""
    raw = canonical.dumps({"kind": kind, "session": session, **body})
    return PageMessage(kind, session, key, from_us, to_us, raw, full, facts, generation)


def _chunk_message(
    session: str, modality: str, t_us: int, envelope: Envelope, record: KafkaRecord, by_append_time: bool
) -> PageMessage:
    payload, content_type, source = envelope.payload, envelope.get("content-type"), envelope.get("source")
    kind, _ = media_headers.parse_content_type(content_type)
    sha256, at = hashlib.sha256(payload).hexdigest(), [record.partition, record.offset]
    declared_us = declared_duration_us(envelope.attributes)
    body: Json = {
        "modality": modality,
        "source": source,
        "id": envelope.get("id"),
        "t_us": t_us,
        "duration_us": 0 if isinstance(declared_us, Rejected) else declared_us,
        "arrived_us": record.timestamp * 1000,
        "at": at,
        "bytes": len(payload),
        "content_type": content_type,
    }
    if sha256 == EMPTY_SHA256:
        body["alive"] = True
    else:
        body["media"] = media_path(session, modality, at, t_us, sha256)
    if modality == "audio" and kind in media_headers.AUDIO_TYPES and payload:
        info = media_headers.measure_audio(content_type, payload)
        if isinstance(info, AudioInfo):
            body["duration_us"] = info.duration_us
            body["peaks"] = _peaks(info, payload)
    elif modality == "text" and payload:
        body["text"] = _text(kind, payload)
    facts = {
        "source": (modality, source),
        "identity": (modality, source, body["id"], t_us, body["duration_us"]),
        "arrived_us": body["arrived_us"],
        "sha256": sha256,
        # The clock of a source that has none is not measured.
        "captured_us": body["arrived_us"] if by_append_time else t_us + body["duration_us"],
        "corrected_us": t_us - (timestamps.parse(envelope.get("recordedtime")) or t_us),
    }
    return make_message(
        "chunk", session, f"{modality} {at[0]} {at[1]}", t_us, t_us + body["duration_us"], body, facts=facts
    )


def _peaks(info: AudioInfo, payload: bytes) -> list[int] | None:
    """Return the loudest sample (0-255) of each 25 ms of PCM or WAV; None for compressed audio."""
    if info.pcm is None:
        return None
    begin, end = info.pcm
    samples = np.abs(np.frombuffer(payload[begin:end], "<i2").astype(np.int32))
    if not samples.size:
        return []
    step = max(info.rate * info.channels // PEAKS_PER_S, 1)
    starts = np.arange(0, samples.size, step)[:PEAKS_MAX]
    loudest: list[int] = (np.maximum.reduceat(samples, starts) >> 7).clip(0, 255).tolist()
    return loudest


def _text(kind: str, payload: bytes) -> str:
    text = read_transcript(kind, payload)
    return "" if isinstance(text, Rejected) else text[:TEXT_MAX]


def _header(headers: Mapping[str, bytes], name: str) -> Json | None:
    try:
        return canonical.loads_object(headers[name] or b"") if name in headers else None
    except canonical.InvalidJson:
        return None


def _ongoing_event(session: str, generation: int, state: Json | None) -> Json | None:
    """Return the event that is open after a final prediction, from the detector state in its headers."""
    if state is None or state.get("open") is None:
        return None
    _, label, start_us, end_us, _ = check_items(state["open"], 5, "open")
    number = integer(state, "events") if "events" in state else 0
    id = event_id(session, time_us(state, "chain_us"), number, generation)
    start_us, end_us = check_time_us(start_us, "open"), check_time_us(end_us, "open")
    return {"id": id, "label": check_text(label, "open"), "start": start_us, "end": end_us}
