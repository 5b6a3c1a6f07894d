"""What the gateway answers: sessions, devices, predictions, the event stream, media out and media in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from services.contract import canonical
from services.contract.reason import Reason, Rejected
from services.contract.semantics import Semantics
from services.contract.topics import Topics
from services.gateway.door import sending
from services.gateway.media import Busy, Media, shown
from services.gateway.ring import Ring
from services.gateway.rooms import Rooms
from services.gateway.sources import Sources
from services.gateway.told import KINDS, Told
from services.gateway.why import why
from services.payloads.redis_window import Wanted
from services.runtime.metrics import GatewayMetrics
from services.schemas.files import asyncapi

PAGE = Path(__file__).parent / "page"
SECONDS_MAX = 600
ACKNOWLEDGED_WITHIN_S = 20
BODY_WITHIN_S = 30
TAKING_MAX = 64
PING_S = 15
GRACE_S = 5
SHA256_DIGITS = 64
# Members never change: whoever holds the address holds the hash of the bytes.
MEDIA_HEADERS = {
    "cache-control": "private, max-age=3600, immutable",
    "content-security-policy": "default-src 'none'; sandbox",
    "content-disposition": "inline",
}
STATUS = {Reason.SIZE: 413, Reason.CONTENT_TYPE: 415}


@dataclass(frozen=True, slots=True)
class Limits:
    """streams_max: open event streams; body_bytes_max: of one POST."""

    streams_max: int
    body_bytes_max: int


class Api:
    """The handlers; they read what the follower keeps."""

    def __init__(
        self,
        rooms: Rooms,
        sources: Sources,
        ring: Ring,
        media: Media,
        producer: AIOKafkaProducer,
        topics: Topics,
        semantics: Semantics,
        limits: Limits,
        metrics: GatewayMetrics,
    ) -> None:
        self._rooms, self._sources, self._ring, self._media, self._producer = rooms, sources, ring, media, producer
        self._topics, self._semantics, self._limits, self._metrics = topics, semantics, limits, metrics
        self._streams = self._taking = 0

    def routes(self) -> list[BaseRoute]:
        """Everything under one table; the page comes last, for it takes what is left."""
        return [
            Route("/api/v1/sessions", self.sessions),
            Route("/api/v1/sessions/{session:path}", self.session),
            Route("/api/v1/sessions/{session:path}/{modality}", self.take, methods=["POST"]),
            Route("/api/v1/devices", self.devices),
            Route("/api/v1/predictions/{id:path}", self.prediction),
            Route("/api/v1/events", self.events),
            Route("/api/v1/media/{modality}/{partition:int}/{offset:int}", self.member),
            Route("/asyncapi.yaml", self.asyncapi),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ]

    async def asyncapi(self, request: Request) -> Response:
        """The topics of this installation as an AsyncAPI 3 document."""
        return Response(asyncapi(self._topics), media_type="application/yaml")

    async def sessions(self, request: Request) -> Response:
        """All sessions, the one heard last first."""
        known = [room.summary() for room in reversed(self._rooms.rooms.values())]
        return _json({"now_us": _now_us(), "modalities": self._semantics.modalities, "sessions": known})

    async def session(self, request: Request) -> Response:
        """What is kept of one session's last seconds (`?seconds=`, 30 by default), by kind."""
        room = self._rooms.rooms.get(request.path_params["session"])
        if room is None:
            return _no(404, "nothing is kept of this session")
        seconds = _number(request.query_params.get("seconds", "30"), SECONDS_MAX)
        if seconds is None:
            return _no(400, f"seconds: a whole number up to {SECONDS_MAX}")
        kept = room.since(room.head_us - seconds * 1_000_000)
        parts = [b'"%s":[%s]' % (kind.encode(), b",".join(t.raw for t in found)) for kind, found in kept.items()]
        head = canonical.dumps(
            {
                "now_us": _now_us(),
                "last_id": self._ring.last_id,
                "size_us": self._semantics.size_us,
                "hop_us": self._semantics.hop_us,
                "modalities": self._semantics.declared(room.session),
                "summary": room.summary(),
            }
        )
        return Response(head[:-1] + b"," + b",".join(parts) + b"}", media_type="application/json")

    async def devices(self, request: Request) -> Response:
        """Each source: last seen, rate, clock offset, share of late records."""
        return _json({"devices": self._sources.as_json(_now_us())})

    async def prediction(self, request: Request) -> Response:
        """Why: the prediction, the members of its window, its events, its runner-up."""
        id: str = request.path_params["id"]
        room = self._rooms.rooms.get(id.partition("@")[0].rsplit("/", 2)[0])
        found = None if room is None else why(room, id)
        return _no(404, "this prediction is not kept any more") if found is None else _json(found)

    async def events(self, request: Request) -> Response:
        """Server-sent events: `?session=` and `?kind=` choose (both may repeat; kind: event by default)."""
        query = request.query_params
        kinds, sessions = set(query.getlist("kind")) or {"event"}, set(query.getlist("session"))
        if unknown := kinds - set(KINDS):
            return _no(400, f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
        if self._streams >= self._limits.streams_max:
            return _no(503, f"{self._limits.streams_max} event streams are open: no more are served")
        last_id = request.headers.get("last-event-id") or query.get("after")

        def wanted(told: Told) -> bool:
            return told.kind in kinds and (not sessions or told.session in sessions)

        # When the server ends, the ring does: the stream then ends by itself, and is not cut off before it has.
        return EventSourceResponse(
            self._stream(last_id, wanted), ping=PING_S, send_timeout=30, shutdown_grace_period=GRACE_S
        )

    async def _stream(self, last_id: str | None, wanted: Callable[[Told], bool]) -> AsyncIterator[ServerSentEvent]:
        self._streams += 1
        self._metrics.streams.set(self._streams)
        try:
            # The first word gives the place: whoever loses the line at once can still go on from here.
            yield ServerSentEvent(data="{}", event="hello", id=last_id or self._ring.last_id)
            async for message in self._ring.after(last_id, wanted):
                if message.told is None:
                    yield ServerSentEvent(data="{}", event="reset", id=message.id)
                else:
                    yield ServerSentEvent(data=message.told.raw.decode(), event=message.told.kind, id=message.id)
        finally:
            self._streams -= 1
            self._metrics.streams.set(self._streams)

    async def member(self, request: Request) -> Response:
        """The bytes of one member, named by its place and its hash (`?sha256=`; session and t_us find it in Redis)."""
        modality, query = request.path_params["modality"], request.query_params
        sha256, t_us = query.get("sha256", ""), _number(query.get("t_us", "0"), 1 << 62)
        if modality not in self._topics.modalities or len(sha256) != SHA256_DIGITS or t_us is None:
            return _no(404, "no such member: the address names modality, place, sha256, session and t_us")
        place = request.path_params["partition"], request.path_params["offset"]
        try:
            found = await self._media.get(Wanted(query.get("session", ""), modality, t_us, *place, sha256))
        except Busy:
            return _no(503, "many ask for what only the log has: try again")
        except (KafkaError, TimeoutError):
            return _no(503, "neither Redis nor the log answers")
        if found is None:
            return _no(404, "gone from Redis and from the log")
        safe = shown(modality, found)
        if safe is None:
            return _no(415, "bytes of this type are not shown")
        return Response(safe.body, media_type=safe.content_type, headers=MEDIA_HEADERS)

    async def take(self, request: Request) -> Response:
        """One chunk into the log: 202 once the broker has acknowledged it."""
        session, modality = request.path_params["session"], request.path_params["modality"]
        if modality not in self._topics.modalities:
            return _no(404, f"no such modality: there are {', '.join(self._topics.modalities)}")
        if self._taking >= TAKING_MAX:
            return _no(503, f"{TAKING_MAX} are being taken: try again")
        self._taking += 1
        try:
            return await self._take(request, session, modality)
        except TimeoutError:
            return _no(408, f"the body did not come within {BODY_WITHIN_S} s")
        finally:
            self._taking -= 1

    async def _take(self, request: Request, session: str, modality: str) -> Response:
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await _body(request, self._limits.body_bytes_max)
        made = (
            Rejected(Reason.SIZE, f"at most {self._limits.body_bytes_max} bytes are taken")
            if body is None
            else sending(session, modality, request.headers, body, self._semantics.admission)
        )
        if isinstance(made, Rejected):
            self._metrics.refused.labels(made.reason.value).inc()
            return _no(STATUS.get(made.reason, 422), made.detail, made.reason.value)
        try:
            sent = self._producer.send_and_wait(
                self._topics.media(modality), made.body, key=session.encode(), headers=made.headers
            )
            done = await asyncio.wait_for(sent, ACKNOWLEDGED_WITHIN_S)
        except (KafkaError, TimeoutError):
            return _no(503, "the broker has not acknowledged it: send it again with the same ce-id and ce-time")
        self._metrics.taken.labels(modality).inc()
        at = {"topic": done.topic, "partition": done.partition, "offset": done.offset}
        return _json({"session": session, "modality": modality, "id": made.id, **at}, 202)


async def _body(request: Request, bytes_max: int) -> bytes | None:
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


def _json(value: object, status: int = 200) -> Response:
    return Response(canonical.dumps(value), status, media_type="application/json")


def _no(status: int, detail: str, reason: str | None = None) -> Response:
    return JSONResponse({"detail": detail} | ({"reason": reason} if reason else {}), status)


def _number(text: str, maximum: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= maximum else None


def _now_us() -> int:
    return time.time_ns() // 1000
