"""The gateway's parts put together: the follower, the archiver and the web server, which end together."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import FrameType

import uvicorn
from aiokafka import AIOKafkaConsumer
from starlette.applications import Starlette

from services.gateway.api import Api
from services.gateway.auth import AccessPolicy, AuthMiddleware
from services.gateway.connection_limits import ConnectionLimits, connection_class
from services.gateway.event_archiver import ArchiveReader, EventArchiver
from services.gateway.follower import ControlApplier, GatewayFollower
from services.gateway.ingest import IngestHandler
from services.gateway.ingest_limits import ClientLimits, IngestQuotas
from services.gateway.labels import LabelHandler
from services.gateway.media import MediaReader
from services.gateway.message_buffer import EventStream
from services.gateway.messages import MessageDecoder
from services.gateway.redaction import Redactor
from services.gateway.sessions import HistoryLimits, SessionStore
from services.gateway.sources import SourceStore
from services.kafka import clients, wait_for_broker
from services.kafka.control_topic import ControlTopic
from services.kafka.signing_secret import check_secret
from services.runtime.device_directory import DeviceDirectory
from services.runtime.health import Progress
from services.runtime.metric_definitions import GatewayMetrics
from services.runtime.settings import Settings
from services.runtime.tracing import Tracer
from services.storage.archive import EventArchive
from services.storage.labels import LabelStore
from services.storage.payload_cache import PayloadCache

CONNECTIONS_MAX = 512
SHUTDOWN_WITHIN_S = 10


async def serve(
    settings: Settings, listener: socket.socket, token: str, metrics: GatewayMetrics, progress: Progress
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    broker, topics, g = settings.kafka, settings.topic_names(), settings.gateway
    semantics, partitions = settings.alignment_config(), settings.topics.partitions
    sessions = SessionStore(HistoryLimits(g.sessions_max, g.history_mb * 1024 * 1024, g.history_s * 1_000_000))
    sources, stream = SourceStore(g.silent_s * 1_000_000), EventStream(secrets.token_hex(4))
    tracer, controls = Tracer(settings.tracing, "braid-gateway"), ControlTopic.from_settings(settings)
    redactor = Redactor(controls.for_session)
    archive = EventArchive(settings.archive.folder, settings.archive.days, settings.archive.max_mb * 1_000_000)

    def open_reader() -> AbstractAsyncContextManager[AIOKafkaConsumer]:
        return clients.reader(broker, **clients.LOOKUP)

    archiver = EventArchiver(archive, open_reader, topics, partitions, semantics.future_us, redactor, metrics)
    follower = GatewayFollower(
        lambda: clients.make_reader(broker),
        topics,
        partitions,
        sessions,
        sources,
        stream,
        archiver,
        redactor,
        MessageDecoder(topics, semantics),
        metrics,
        progress,
    )
    controls.on_change(ControlApplier(sessions, sources, stream, archiver))
    media = MediaReader(
        PayloadCache.from_settings(settings.redis),
        lambda: clients.make_reader(broker),
        topics,
        partitions,
        metrics,
    )
    async with wait_for_broker.producer(broker, settings.topics.partitions, progress) as producer:
        ingest = IngestHandler(
            producer,
            topics,
            semantics,
            settings.limits.payload_bytes_max,
            DeviceDirectory(settings.devices),
            ClientLimits(g.client_records_per_s, g.client_sessions_max),
            IngestQuotas(semantics, partitions),
            metrics,
            tracer,
        )
        labels = LabelHandler(
            LabelStore(settings.labels.folder), archive, open_reader, topics, partitions, semantics.future_us, redactor
        )
        api = Api(
            sessions,
            sources,
            stream,
            media,
            ArchiveReader(archive, topics),
            ingest,
            labels,
            topics,
            semantics,
            g.streams_max,
            redactor,
            metrics,
            progress,
        )
        policy = AccessPolicy(token, (g.host, *g.allowed_hosts))
        config = uvicorn.Config(
            AuthMiddleware(Starlette(routes=api.routes()), policy, metrics),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            http=connection_class(ConnectionLimits(CONNECTIONS_MAX, g.connections_per_address, metrics)),
            ws="none",
            timeout_keep_alive=20,
            timeout_graceful_shutdown=SHUTDOWN_WITHIN_S,
        )
        await wait_for_broker.started(lambda: check_secret(settings), progress)
        # Nothing is served before every mute is known.
        await wait_for_broker.started(controls.start, progress)
        essential = [asyncio.create_task(controls.wait_for_failure()), asyncio.create_task(follower.run(g.look_back_s))]
        archiving = asyncio.create_task(archiver.run())
        # uvicorn raises the signal again after its own clean end, when there is nothing left to interrupt.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        loop = asyncio.get_running_loop()
        server = _Server(config, lambda: loop.call_soon_threadsafe(stream.end))
        for task in essential:
            task.add_done_callback(lambda _: setattr(server, "should_exit", True))
        try:
            await server.serve(sockets=[listener])
            for task in essential:
                if task.done():
                    task.result()
        finally:
            for task in (*essential, archiving):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await controls.stop()
            await media.close()
            await asyncio.to_thread(tracer.close)


class _Server(uvicorn.Server):
    """A server that lets event streams end by themselves; uvicorn would wait for them, then log errors."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Announce the end; this runs in a signal handler, so it does nothing else."""
        self._on_exit()
        super().handle_exit(sig, frame)
