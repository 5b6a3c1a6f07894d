"""The HTTP API: sessions, devices, predictions, the event stream, media in and out, and the live page."""

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
from services.contract.alignment_config import AlignmentConfig
from services.contract.topics import Topics
from services.gateway.event_archiver import ArchiveReader
from services.gateway.explanation import explain
from services.gateway.ingest import IngestHandler
from services.gateway.labels import LabelHandler
from services.gateway.media import Busy, MediaReader, browser_safe
from services.gateway.message_buffer import EventStream
from services.gateway.messages import KINDS, PageMessage
from services.gateway.redaction import Redactor
from services.gateway.responses import error_response, json_response
from services.gateway.sessions import SessionStore
from services.gateway.sources import SourceStore
from services.runtime.health import Progress
from services.runtime.metric_definitions import GatewayMetrics
from services.runtime.schema_documents import asyncapi
from services.storage.evidence import InvalidPredictionId, PredictionKey
from services.storage.payload_cache import PayloadRequest

PAGE = Path(__file__).parent / "page"
SECONDS_MAX = 600
PING_S = 15
GRACE_S = 5
SHA256_DIGITS = 64
PARTITION_MAX = (1 << 31) - 1
MUTED = "this modality of the session is or was muted"
# Members never change: their address has the hash of their bytes.
MEDIA_HEADERS = {
    "cache-control": "private, max-age=3600, immutable",
    "content-security-policy": "default-src 'none'; sandbox",
    "content-disposition": "inline",
}


class Api:
    """The request handlers; they read what the follower holds."""

    def __init__(
        self,
        sessions: SessionStore,
        sources: SourceStore,
        stream: EventStream,
        media: MediaReader,
        archive: ArchiveReader,
        ingest: IngestHandler,
        labels: LabelHandler,
        topics: Topics,
        semantics: AlignmentConfig,
        streams_max: int,
        redactor: Redactor,
        metrics: GatewayMetrics,
        progress: Progress,
    ) -> None:
        self._sessions, self._sources, self._stream = sessions, sources, stream
        self._media, self._archive, self._ingest, self._labels = media, archive, ingest, labels
        self._topics, self._semantics, self._redactor = topics, semantics, redactor
        self._streams_max, self._metrics, self._progress = streams_max, metrics, progress

    def routes(self) -> list[BaseRoute]:
        """Return the routing table; the page comes last, because it takes every other path."""
        return [
            Route("/api/v1/sessions", self.sessions),
            Route("/api/v1/sessions/{session:path}", self.session),
            Route("/api/v1/sessions/{session:path}/{modality}", self._ingest.post, methods=["POST"]),
            Route("/api/v1/devices", self.devices),
            Route("/api/v1/predictions/{id:path}/label", self._labels.post, methods=["POST"]),
            Route("/api/v1/predictions/{id:path}", self.prediction),
            Route("/api/v1/events", self.events),
            Route("/api/v1/media/{modality}/{partition}/{offset}", self.member),
            Route("/asyncapi.yaml", self.asyncapi),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ]

    async def asyncapi(self, request: Request) -> Response:
        """Return the topics of this installation as an AsyncAPI 3 document."""
        return Response(asyncapi(self._topics), media_type="application/yaml")

    async def sessions(self, request: Request) -> Response:
        """List all sessions, the one with the newest chunk first, and what keeps the gateway from working as it should."""
        views = reversed(self._sessions.views.values())
        summaries = [view.summary() | {"muted": self._redactor.muted_modalities(view.session)} for view in views]
        problems = [*self._progress.not_ready.values(), *self._progress.degraded.values()]
        return json_response(
            {
                "now_us": _now_us(),
                "modalities": self._semantics.modalities,
                "sessions": summaries,
                "problems": problems,
            }
        )

    async def session(self, request: Request) -> Response:
        """Return the last seconds of a session by kind (`?seconds=`, 30 by default)."""
        view = self._sessions.views.get(request.path_params["session"])
        if view is None:
            return error_response(404, "no recent data of this session")
        seconds = _number(request.query_params.get("seconds", "30"), SECONDS_MAX)
        if seconds is None:
            return error_response(400, f"seconds: a whole number up to {SECONDS_MAX}")
        recent = view.messages_since(view.head_us - seconds * 1_000_000)
        lists = [b'"%s":[%s]' % (kind.encode(), b",".join(m.raw for m in found)) for kind, found in recent.items()]
        head = canonical.dumps(
            {
                "now_us": _now_us(),
                "last_id": self._stream.last_id,
                "size_us": self._semantics.size_us,
                "hop_us": self._semantics.hop_us,
                "modalities": self._semantics.modalities_of(view.session),
                "muted": self._redactor.muted_modalities(view.session),
                "generation": view.generation,
                "summary": view.summary(),
            }
        )
        return Response(head[:-1] + b"," + b",".join(lists) + b"}", media_type="application/json")

    async def devices(self, request: Request) -> Response:
        """List all sources: last seen, rate, clock offset, share of late records."""
        return json_response({"devices": self._sources.as_json(_now_us())})

    async def prediction(self, request: Request) -> Response:
        """Explain a prediction from memory or, where that lacks its window, from the archive of events."""
        id: str = request.path_params["id"]
        try:
            key = PredictionKey.parse(id)
        except InvalidPredictionId as error:
            return error_response(404, str(error))
        if self._redactor.is_forgotten(key.session, key.start_us):
            return error_response(404, "this session was forgotten")
        view = self._sessions.views.get(key.session)
        found = None if view is None else explain(view, id)
        if found is None or found["members"] is None:
            found = await self._archive.explanation(key.session, id) or found
        if found is None:
            return error_response(404, "this prediction is not retained any more")
        if found["members"] is not None:
            found["members"] = self._redactor.redact_members(key.session, found["members"])
        return json_response(found)

    async def events(self, request: Request) -> Response:
        """Stream messages as server-sent events: `?session=` and `?kind=` filter (both may repeat; kind: event)."""
        query = request.query_params
        kinds, sessions = set(query.getlist("kind")) or {"event"}, set(query.getlist("session"))
        if unknown := kinds - set(KINDS):
            return error_response(400, f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
        if self._stream.readers >= self._streams_max:
            return error_response(503, f"{self._streams_max} event streams are open, which is the limit")
        last_id = request.headers.get("last-event-id") or query.get("after")

        def is_wanted(message: PageMessage) -> bool:
            return message.kind in kinds and (not sessions or message.session in sessions)

        # The event stream ends with the server; the response then ends by itself within the grace period.
        return EventSourceResponse(
            self._stream_events(last_id, is_wanted), ping=PING_S, send_timeout=30, shutdown_grace_period=GRACE_S
        )

    async def _stream_events(
        self, last_id: str | None, is_wanted: Callable[[PageMessage], bool]
    ) -> AsyncIterator[ServerSentEvent]:
        self._stream.readers += 1
        self._metrics.streams.set(self._stream.readers)
        try:
            # The first event has an id, so that a client that loses the connection at once can still continue.
            yield ServerSentEvent(data="{}", event="hello", id=last_id or self._stream.last_id)
            async for entry in self._stream.read_after(last_id, is_wanted):
                if entry.message is None:
                    yield ServerSentEvent(data="{}", event="reset", id=entry.id)
                else:
                    yield ServerSentEvent(data=entry.message.raw.decode(), event=entry.message.kind, id=entry.id)
        finally:
            self._stream.readers -= 1
            self._metrics.streams.set(self._stream.readers)

    async def member(self, request: Request) -> Response:
        """Return the bytes of a member: `?sha256=` identifies them, `session` and `t_us` (event time) find them."""
        modality, query = request.path_params["modality"], request.query_params
        sha256, t_us = query.get("sha256", ""), _number(query.get("t_us", ""), 1 << 62)
        session = query.get("session", "")
        partition = _number(request.path_params["partition"], PARTITION_MAX)
        offset = _number(request.path_params["offset"], 1 << 62)
        is_known = modality in self._topics.modalities and len(sha256) == SHA256_DIGITS and bool(session)
        if not is_known or t_us is None or partition is None or offset is None:
            return error_response(404, "no such member: the address needs modality, position, sha256, session and t_us")
        if self._redactor.is_forgotten(session, t_us):
            return error_response(404, "this session was forgotten")
        if self._redactor.is_muted(session, modality, t_us) or self._was_muted(session, modality, partition, offset):
            return error_response(403, MUTED)
        wanted, failed = PayloadRequest(session, modality, t_us, partition, offset, sha256), False
        try:
            payload = await self._media.get(wanted)
        except Busy:
            return error_response(503, "too many requests read the log: try again")
        except (KafkaError, TimeoutError):
            payload, failed = None, True
        payload = payload or await self._archive.payload(wanted)
        if payload is None and failed:
            return error_response(503, "neither Redis nor the log can be read")
        if payload is None:
            return error_response(404, "neither Redis, the log nor the archive has these bytes any more")
        if payload.arrived_us and self._redactor.is_muted(session, modality, payload.arrived_us):
            return error_response(403, MUTED)
        safe = browser_safe(modality, payload)
        if safe is None:
            return error_response(415, "bytes of this type are not shown")
        return Response(safe.body, media_type=safe.content_type, headers=MEDIA_HEADERS)

    def _was_muted(self, session: str, modality: str, partition: int, offset: int) -> bool:
        """Return whether a chunk that is still in memory arrived while its modality was muted."""
        view = self._sessions.views.get(session)
        message = None if view is None else view.messages["chunk"].get(f"{modality} {partition} {offset}")
        return message is not None and bool((message.facts or {}).get("muted"))


def _number(text: str, maximum: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= maximum else None


def _now_us() -> int:
    return time.time_ns() // 1000
