"""Media in by HTTP: one request is one record, and the answer comes once the broker has acknowledged it."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from services.contract.reason import Reason, Rejected
from services.contract.semantics import Admission
from services.contract.topics import Topics
from services.devices.devices import Devices
from services.gateway.answer import no, told
from services.gateway.door import sending
from services.gateway.ingest import ingest
from services.runtime.metrics import GatewayMetrics
from services.runtime.tracing import Tracer

ACKNOWLEDGED_WITHIN_S = 20
BODY_WITHIN_S = 30
TAKING_MAX = 64
STATUS = {Reason.SIZE: 413, Reason.CONTENT_TYPE: 415}


class Taking:
    """Takes so many at a time; bytes_max: of one body."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topics: Topics,
        admission: Admission,
        bytes_max: int,
        devices: Devices,
        metrics: GatewayMetrics,
        tracer: Tracer,
    ) -> None:
        self._producer, self._topics, self._admission, self._devices = producer, topics, admission, devices
        self._bytes_max, self._metrics, self._tracer = bytes_max, metrics, tracer
        self._count = 0

    async def take(self, request: Request) -> Response:
        """One chunk into the log: 202 once the broker has acknowledged it."""
        session, modality = request.path_params["session"], request.path_params["modality"]
        if modality not in self._topics.modalities:
            return no(404, f"no such modality: there are {', '.join(self._topics.modalities)}")
        if self._count >= TAKING_MAX:
            return no(503, f"{TAKING_MAX} are being taken: try again")
        self._count += 1
        try:
            return await self._take(request, session, modality)
        except TimeoutError:
            return no(408, f"the body did not come within {BODY_WITHIN_S} s")
        finally:
            self._count -= 1

    async def _take(self, request: Request, session: str, modality: str) -> Response:
        began_us = time.time_ns() // 1000
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await body_of(request, self._bytes_max)
        made = (
            Rejected(Reason.SIZE, f"at most {self._bytes_max} bytes are taken")
            if body is None
            else sending(session, modality, request.headers, body, self._admission, self._devices)
        )
        if isinstance(made, Rejected):
            self._metrics.refused.labels(made.reason.value).inc()
            return no(STATUS.get(made.reason, 422), made.detail, made.reason.value)
        name = "\n".join((made.session, modality, made.id, str(made.stamp.t_us)))
        traced = ingest(request.headers.get("traceparent"), name, self._tracer.share)
        headers = [*made.headers, *traced.headers]
        try:
            sent = self._producer.send_and_wait(
                self._topics.media(modality), made.body, key=made.session.encode(), headers=headers
            )
            done = await asyncio.wait_for(sent, ACKNOWLEDGED_WITHIN_S)
        except (KafkaError, TimeoutError):
            return no(503, "the broker has not acknowledged it: send it again with the same ce-id and ce-time")
        self._devices.taken(made.stamp, made.duration_us, done.timestamp)
        self._metrics.taken.labels(modality).inc()
        self._tracer.tell(traced.span(modality, (done.partition, done.offset), began_us, time.time_ns() // 1000))
        at = {"topic": done.topic, "partition": done.partition, "offset": done.offset}
        return told({"session": made.session, "modality": modality, "id": made.id, **at}, 202)


async def body_of(request: Request, bytes_max: int) -> bytes | None:
    """The body, None where it is longer than allowed: it is not read to its end then."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > bytes_max:
                return None
            parts.append(part)
    except ClientDisconnect:
        return None
    return b"".join(parts)
