"""How the API answers: JSON, or why not.

What the gateway answers: sessions, devices, predictions, the event stream, media out and media in.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiokafka.errors import KafkaError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from services.contract import canonical
from services.contract.alignment_config import Semantics
from services.contract.topics import Topics
from services.gateway.archive_reader import ArchiveReader
from services.gateway.event_stream import EventStream
from services.gateway.explanation import explain
from services.gateway.ingest import IngestHandler
from services.gateway.labels import LabelHandler
from services.gateway.media import Busy, MediaReader, browser_safe
from services.gateway.messages import KINDS, PageMessage
from services.gateway.redaction import Redactor
from services.gateway.responses import error_response, json_response
from services.gateway.sessions import SessionStore
from services.gateway.sources import SourceStore
from services.runtime.metrics import GatewayMetrics
from services.runtime.schema_files import asyncapi
from services.storage.evidence import InvalidPredictionId, PredictionKey
from services.storage.payload_cache import Wanted

PAGE = Path(__file__).parent / "page"
SECONDS_MAX = 600
PING_S = 15
GRACE_S = 5
SHA256_DIGITS = 64
MUTED = "this sense of the session is or was muted"
# Members never change: whoever holds the address holds the hash of the bytes.
MEDIA_HEADERS = {
    "cache-control": "private, max-age=3600, immutable",
    "content-security-policy": "default-src 'none'; sandbox",
    "content-disposition": "inline",
}


class Api:
    """The handlers; they read what the follower keeps."""

    def __init__(
        self,
        rooms: SessionStore,
        sources: SourceStore,
        ring: EventStream,
        media: MediaReader,
        kept: ArchiveReader,
        taking: IngestHandler,
        labelling: LabelHandler,
        topics: Topics,
        semantics: Semantics,
        streams_max: int,
        hidden: Redactor,
        metrics: GatewayMetrics,
    ) -> None:
        self._hidden = hidden
        self._rooms, self._sources, self._ring, self._media = rooms, sources, ring, media
        self._kept, self._taking, self._labelling = kept, taking, labelling
        self._topics, self._semantics, self._streams_max, self._metrics = topics, semantics, streams_max, metrics
        self._streams = 0

    def routes(self) -> list[BaseRoute]:
        """Everything under one table; the page comes last, for it takes what is left."""
        return [
            Route("/api/v1/sessions", self.sessions),
            Route("/api/v1/sessions/{session:path}", self.session),
            Route("/api/v1/sessions/{session:path}/{modality}", self._taking.post, methods=["POST"]),
            Route("/api/v1/devices", self.devices),
            Route("/api/v1/predictions/{id:path}/label", self._labelling.post, methods=["POST"]),
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
        rooms = reversed(self._rooms.views.values())
        known = [room.summary() | {"muted": self._hidden.muted_modalities(room.session)} for room in rooms]
        return json_response({"now_us": _now_us(), "modalities": self._semantics.modalities, "sessions": known})

    async def session(self, request: Request) -> Response:
        """What is kept of one session's last seconds (`?seconds=`, 30 by default), by kind."""
        room = self._rooms.views.get(request.path_params["session"])
        if room is None:
            return error_response(404, "nothing is kept of this session")
        seconds = _number(request.query_params.get("seconds", "30"), SECONDS_MAX)
        if seconds is None:
            return error_response(400, f"seconds: a whole number up to {SECONDS_MAX}")
        kept = room.messages_since(room.head_us - seconds * 1_000_000)
        parts = [b'"%s":[%s]' % (kind.encode(), b",".join(t.raw for t in found)) for kind, found in kept.items()]
        head = canonical.dumps(
            {
                "now_us": _now_us(),
                "last_id": self._ring.last_id,
                "size_us": self._semantics.size_us,
                "hop_us": self._semantics.hop_us,
                "modalities": self._semantics.declared(room.session),
                "muted": self._hidden.muted_modalities(room.session),
                "summary": room.summary(),
            }
        )
        return Response(head[:-1] + b"," + b",".join(parts) + b"}", media_type="application/json")

    async def devices(self, request: Request) -> Response:
        """Each source: last seen, rate, clock offset, share of late records."""
        return json_response({"devices": self._sources.as_json(_now_us())})

    async def prediction(self, request: Request) -> Response:
        """Why: the prediction, the members of its window, its events, its runner-up; of an event also from what is kept."""
        id: str = request.path_params["id"]
        try:
            asked = PredictionKey.parse(id)
        except InvalidPredictionId as error:
            return error_response(404, str(error))
        session = asked.session
        if self._hidden.is_forgotten(session, asked.start_us):
            return error_response(404, "this session was forgotten")
        room = self._rooms.views.get(session)
        found = None if room is None else explain(room, id)
        if found is None or found["members"] is None:
            found = await self._kept.explanation(session, id) or found
        if found is None:
            return error_response(404, "this prediction is not kept any more")
        if found["members"] is not None:
            found["members"] = self._hidden.redact_members(session, found["members"])
        return json_response(found)

    async def events(self, request: Request) -> Response:
        """Server-sent events: `?session=` and `?kind=` choose (both may repeat; kind: event by default)."""
        query = request.query_params
        kinds, sessions = set(query.getlist("kind")) or {"event"}, set(query.getlist("session"))
        if unknown := kinds - set(KINDS):
            return error_response(400, f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
        if self._streams >= self._streams_max:
            return error_response(503, f"{self._streams_max} event streams are open: no more are served")
        last_id = request.headers.get("last-event-id") or query.get("after")

        def chosen(one: PageMessage) -> bool:
            return one.kind in kinds and (not sessions or one.session in sessions)

        # When the server ends, the ring does: the stream then ends by itself, and is not cut off before it has.
        return EventSourceResponse(
            self._stream(last_id, chosen), ping=PING_S, send_timeout=30, shutdown_grace_period=GRACE_S
        )

    async def _stream(
        self, last_id: str | None, chosen: Callable[[PageMessage], bool]
    ) -> AsyncIterator[ServerSentEvent]:
        self._streams += 1
        self._metrics.streams.set(self._streams)
        try:
            # The first word gives the place: whoever loses the line at once can still go on from here.
            yield ServerSentEvent(data="{}", event="hello", id=last_id or self._ring.last_id)
            async for message in self._ring.read_after(last_id, chosen):
                if message.message is None:
                    yield ServerSentEvent(data="{}", event="reset", id=message.id)
                else:
                    yield ServerSentEvent(data=message.message.raw.decode(), event=message.message.kind, id=message.id)
        finally:
            self._streams -= 1
            self._metrics.streams.set(self._streams)

    async def member(self, request: Request) -> Response:
        """The bytes of one member, named by its place and its hash (`?sha256=`; session and t_us, its event time, find it in Redis)."""
        modality, query = request.path_params["modality"], request.query_params
        sha256, t_us = query.get("sha256", ""), _number(query.get("t_us", ""), 1 << 62)
        session = query.get("session", "")
        if modality not in self._topics.modalities or len(sha256) != SHA256_DIGITS or t_us is None or not session:
            return error_response(404, "no such member: the address names modality, place, sha256, session and t_us")
        place = request.path_params["partition"], request.path_params["offset"]
        if self._hidden.is_forgotten(session, t_us):
            return error_response(404, "this session was forgotten")
        if self._hidden.is_muted(session, modality, t_us) or self._seen_muted(session, modality, *place):
            return error_response(403, MUTED)
        asked, broken = Wanted(session, modality, t_us, *place, sha256), False
        try:
            found = await self._media.get(asked)
        except Busy:
            return error_response(503, "many ask for what only the log has: try again")
        except (KafkaError, TimeoutError):
            found, broken = None, True
        found = found or await self._kept.payload(asked)
        if found is None and broken:
            return error_response(503, "neither Redis nor the log answers")
        if found is None:
            return error_response(404, "gone from Redis and from the log, and not kept with an event")
        if found.arrived_us and self._hidden.is_muted(session, modality, found.arrived_us):
            return error_response(403, MUTED)
        safe = browser_safe(modality, found)
        if safe is None:
            return error_response(415, "bytes of this type are not shown")
        return Response(safe.body, media_type=safe.content_type, headers=MEDIA_HEADERS)

    def _seen_muted(self, session: str, modality: str, partition: int, offset: int) -> bool:
        """True for a chunk that came while its sense was muted, as far as it is remembered."""
        room = self._rooms.views.get(session)
        told = None if room is None else room.kept["chunk"].get(f"{modality} {partition} {offset}")
        return told is not None and bool((told.facts or {}).get("muted"))


def _number(text: str, maximum: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= maximum else None


def _now_us() -> int:
    return time.time_ns() // 1000
