"""Ingest by HTTP: one request is checked, becomes one record, and is answered once the broker has acknowledged it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from services.contract import cloudevents, media_headers, timestamps, trace_context
from services.contract.admission import AdmittedChunk, admit
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason, Rejected
from services.contract.prediction import TRACE_HEADER
from services.contract.topics import MODALITIES, Topics
from services.gateway.connection_limits import client_address
from services.gateway.ingest_limits import ClientLimits, Exceeded, IngestQuotas
from services.gateway.responses import error_response, json_response
from services.runtime.broker_clock import BROKER_CLOCK
from services.runtime.device_directory import DeviceDirectory, EventTimestamp
from services.runtime.metric_definitions import GatewayMetrics
from services.runtime.tracing import Attributes, Span, Tracer

ACKNOWLEDGED_WITHIN_S, BODY_WITHIN_S = 20, 30
REQUESTS_MAX = 64
# How often a wrong clock of one source is reported, and of how many sources that is remembered.
CLOCK_REPORT_EVERY_US, CLOCK_REPORTS_MAX = 5_000_000, 1_000
STATUS = {Reason.SIZE: 413, Reason.CONTENT_TYPE: 415}


@dataclass(frozen=True, slots=True)
class OutgoingChunk:
    """One record for a media topic, with its event time and its duration (us); `chunk` is None for a session end."""

    session: str
    id: str
    headers: list[tuple[str, bytes]]
    body: bytes
    stamp: EventTimestamp
    duration_us: int
    chunk: Chunk | None = None


def build_chunk(
    session: str,
    modality: str,
    request_headers: Mapping[str, str],
    body: bytes,
    config: AlignmentConfig,
    devices: DeviceDirectory,
    now_us: int,
) -> OutgoingChunk | Rejected:
    """Build the record of one request, or reject it for the reason for which the aligner would.

    `ce-id`, `ce-source`, `ce-time`, `ce-type` and `ce-duration` are those of CloudEvents' HTTP binding; each has a default.
    A device of the settings has its own session and clock; a time that the gateway sets needs no correction.

    Args:
        session: The session that the request names.
        modality: The modality that the request names.
        request_headers: The headers of the request by lower-case name.
        body: The payload.
        config: The alignment settings.
        devices: The devices of the settings.
        now_us: The gateway's clock (us), which stands for the broker's append time.
    """
    source = request_headers.get("ce-source") or cloudevents.device_source("http", modality)
    device = devices.settings_of(source)
    if device is not None:
        if device.modality not in ("", modality):
            return Rejected(Reason.SOURCE, f"the settings say that this source sends {device.modality}")
        session = device.session or session
    declared_time = None if config.uses_append_time(source) else request_headers.get("ce-time")
    t_us = timestamps.parse(declared_time) if declared_time else now_us
    if t_us is None:
        return Rejected(Reason.TIME, "ce-time is not an RFC 3339 time stamp")
    id = request_headers.get("ce-id") or uuid.uuid4().hex
    kind = request_headers.get("ce-type") or cloudevents.media_type(modality)
    content_type = media_headers.resolve_content_type(
        request_headers.get("content-type", ""), body, is_text=modality == "text"
    )
    if not content_type and not (body and modality in MODALITIES):
        content_type = "application/json"
    if media_headers.parse_content_type(content_type)[0] == cloudevents.STRUCTURED:
        return Rejected(Reason.CONTENT_TYPE, "CloudEvents in structured mode are not accepted: use ce- headers")
    stamp = devices.stamp(source, t_us) if declared_time else EventTimestamp(None, t_us)
    duration = request_headers.get("ce-duration")
    headers = cloudevents.build_headers(
        session=session,
        source=source,
        id=id,
        type=kind,
        t_us=stamp.t_us,
        content_type=content_type,
        extensions=[*([("ce_duration", duration)] if duration else []), *stamp.extensions],
    )
    admitted = admit(modality, 0, 0, now_us, session.encode(), headers, body, config, partition_count=1)
    if isinstance(admitted, Rejected):
        if admitted.reason in (Reason.FUTURE, Reason.STALE):
            # The correction of a clock is learnt from records that arrive: without this a clock that is far off, and
            # whose records are therefore all rejected, would never be corrected.
            devices.acknowledged(stamp, 0, now_us // 1000)
        return admitted
    if isinstance(admitted, AdmittedChunk):
        return OutgoingChunk(session, id, headers, body, stamp, admitted.chunk.duration_us, admitted.chunk)
    if body:
        return Rejected(Reason.TYPE, "a session end has no bytes")
    return OutgoingChunk(session, id, headers, body, stamp, 0)


class ClockReports:
    """Alive records of sources whose chunks are rejected because their clocks are ahead.

    What is rejected by HTTP is in no topic. Such a record has the time of the source's clock and no media: the aligner
    rejects it too, and everything that shows the clocks of sources reads it like any other record.
    """

    def __init__(self) -> None:
        self._next_us: OrderedDict[tuple[str, str], int] = OrderedDict()

    def headers_of(
        self, session: str, modality: str, clock: tuple[str, int], now_us: int
    ) -> list[tuple[str, bytes]] | None:
        """Return the headers of a report; None if this source was reported a moment ago.

        Args:
            session: The session of the source.
            modality: Its modality.
            clock: The source and its clock offset (us), as in `Rejected`.
            now_us: The gateway's clock (us).
        """
        source, offset_us = clock
        if now_us < self._next_us.get((session, source), now_us):
            return None
        self._next_us[session, source] = now_us + CLOCK_REPORT_EVERY_US
        self._next_us.move_to_end((session, source))
        while len(self._next_us) > CLOCK_REPORTS_MAX:
            self._next_us.popitem(last=False)
        return cloudevents.build_headers(
            session=session,
            source=source,
            id=uuid.uuid4().hex,
            type=cloudevents.ALIVE_TYPE,
            t_us=now_us - offset_us,
            content_type="",
        )


@dataclass(frozen=True, slots=True)
class IngestTrace:
    """The trace headers of a record, and the ids of the span `ingest`; without `span_id` no span is recorded."""

    headers: list[tuple[str, bytes]]
    trace_id: str = ""
    span_id: str | None = None
    parent: str | None = None

    def spans(self, modality: str, at: tuple[int, int], begins_us: int, ends_us: int) -> list[Span]:
        """Return the span from the request to the broker's acknowledgement; `at` is partition and offset."""
        if self.span_id is None:
            return []
        attributes: Attributes = {"braid.modality": modality, "braid.partition": at[0], "braid.offset": at[1]}
        return [Span("ingest", self.trace_id, self.span_id, self.parent, begins_us, ends_us, attributes)]


def trace_of(traceparent: str | None, name: str, share: float) -> IngestTrace:
    """Return the trace of a record.

    A trace that the device records continues with a span of the gateway. One that is not recorded passes through, as does
    every trace where nothing is traced. An invalid `traceparent` is ignored.

    Args:
        traceparent: The header that the device sent.
        name: A unique name of the record.
        share: The share of records that are traced.
    """
    header = (traceparent or "").encode(errors="replace")
    parent = trace_context.parse_traceparent(header)
    if parent is None and not trace_context.is_traced(name, share):
        return IngestTrace([])
    if parent is not None and not (parent.sampled and share > 0):
        return IngestTrace([(TRACE_HEADER, header)])
    trace_id = trace_context.trace_id(name) if parent is None else parent.trace_id
    span_id = trace_context.span_id(name, "ingest")
    headers = [(TRACE_HEADER, f"00-{trace_id}-{span_id}-01".encode())]
    return IngestTrace(headers, trace_id, span_id, parent and parent.span_id)


class IngestHandler:
    """Handles POST requests with media, up to REQUESTS_MAX at a time; `bytes_max` limits a body."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topics: Topics,
        config: AlignmentConfig,
        bytes_max: int,
        devices: DeviceDirectory,
        clients: ClientLimits,
        quotas: IngestQuotas,
        metrics: GatewayMetrics,
        tracer: Tracer,
    ) -> None:
        self._producer, self._topics, self._config, self._devices = producer, topics, config, devices
        self._bytes_max, self._metrics, self._tracer = bytes_max, metrics, tracer
        self._clients, self._quotas = clients, quotas
        self._requests = 0
        self._clock_reports = ClockReports()

    async def post(self, request: Request) -> Response:
        """Append one chunk to its topic: 202 once the broker has acknowledged it."""
        session, modality = request.path_params["session"], request.path_params["modality"]
        if modality not in self._topics.modalities:
            return error_response(404, f"no such modality: there are {', '.join(self._topics.modalities)}")
        client = client_address(request.client)
        if (exceeded := self._clients.count_record(client, time.monotonic())) is not None:
            return self._too_many("rate", exceeded)
        if self._requests >= REQUESTS_MAX:
            return error_response(503, f"{REQUESTS_MAX} requests are in progress: try again")
        self._requests += 1
        try:
            return await self._append(request, client, session, modality)
        except TimeoutError:
            return body_timeout_response()
        finally:
            self._requests -= 1

    def _too_many(self, reason: str, exceeded: Exceeded) -> Response:
        self._metrics.media_rejected.labels(reason).inc()
        return error_response(429, exceeded.detail, reason, retry_after_s=exceeded.retry_after_s)

    async def _append(self, request: Request, client: str, session: str, modality: str) -> Response:
        began_us = time.time_ns() // 1000
        body = await read_body(request, self._bytes_max)
        chunk = (
            Rejected(Reason.SIZE, f"at most {self._bytes_max} bytes are accepted")
            if body is None
            else build_chunk(session, modality, request.headers, body, self._config, self._devices, began_us)
        )
        if isinstance(chunk, Rejected):
            self._metrics.media_rejected.labels(chunk.reason.value).inc()
            if chunk.clock is not None:
                await self._report_clock(session, modality, chunk.clock, began_us)
            return error_response(STATUS.get(chunk.reason, 422), chunk.detail, chunk.reason.value)
        exceeded = self._clients.count_session(client, chunk.session, time.monotonic())
        if exceeded is None and chunk.chunk is not None:
            exceeded = self._quotas.count(chunk.chunk, began_us)
        if exceeded is not None:
            return self._too_many(Reason.QUOTA.value, exceeded)
        name = "\n".join((chunk.session, modality, chunk.id, str(chunk.stamp.t_us)))
        trace = trace_of(request.headers.get("traceparent"), name, self._tracer.share)
        sent_us = time.time_ns() // 1000
        try:
            sent = self._producer.send_and_wait(
                self._topics.media(modality),
                chunk.body,
                key=chunk.session.encode(),
                headers=[*chunk.headers, *trace.headers],
            )
            metadata = await asyncio.wait_for(sent, ACKNOWLEDGED_WITHIN_S)
        except (KafkaError, TimeoutError):
            return error_response(
                503, "the broker has not acknowledged the record: send it again with the same ce-id and ce-time"
            )
        BROKER_CLOCK.observe(sent_us, time.time_ns() // 1000, metadata.timestamp)
        self._devices.acknowledged(chunk.stamp, chunk.duration_us, metadata.timestamp)
        self._metrics.media_accepted.labels(modality).inc()
        position = metadata.partition, metadata.offset
        self._tracer.export(trace.spans(modality, position, began_us, time.time_ns() // 1000))
        at = {"topic": metadata.topic, "partition": metadata.partition, "offset": metadata.offset}
        return json_response({"session": chunk.session, "modality": modality, "id": chunk.id, **at}, 202)

    async def _report_clock(self, session: str, modality: str, clock: tuple[str, int], now_us: int) -> None:
        device = self._devices.settings_of(clock[0])
        session = (device.session if device is not None else "") or session
        headers = self._clock_reports.headers_of(session, modality, clock, now_us)
        if headers is not None:
            with suppress(KafkaError, TimeoutError):
                sent = self._producer.send_and_wait(
                    self._topics.media(modality), b"", key=session.encode(), headers=headers
                )
                await asyncio.wait_for(sent, ACKNOWLEDGED_WITHIN_S)


def body_timeout_response() -> Response:
    """Return the response to a request whose body did not arrive in time."""
    return error_response(408, f"the body did not arrive within {BODY_WITHIN_S} s")


async def read_body(request: Request, bytes_max: int) -> bytes | None:
    """Return the body, None if it is longer than allowed (the rest is not read) or the client disconnects.

    Raises:
        TimeoutError: It did not arrive within BODY_WITHIN_S.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for part in request.stream():
                size += len(part)
                if size > bytes_max:
                    return None
                parts.append(part)
    except ClientDisconnect:
        return None
    return b"".join(parts)
