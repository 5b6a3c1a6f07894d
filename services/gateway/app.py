"""The gateway as a process of its own: the follower, the web server around the API, and both ended together."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from services.gateway.api import Api
from services.gateway.archive_reader import ArchiveReader
from services.gateway.archive_writer import EventArchiver
from services.gateway.auth import AccessPolicy, AuthMiddleware
from services.gateway.control_applier import ControlApplier
from services.gateway.event_stream import EventStream
from services.gateway.follower import GatewayFollower
from services.gateway.ingest import IngestHandler
from services.gateway.labels import LabelHandler
from services.gateway.media import MediaReader
from services.gateway.redaction import Redactor
from services.gateway.sessions import HistoryLimits, SessionStore
from services.gateway.sources import SourceStore
from services.kafka import clients, retry
from services.kafka.control_topic import Controls
from services.runtime.devices import DeviceDirectory
from services.runtime.health import Progress
from services.runtime.metrics import GatewayMetrics
from services.runtime.settings import Settings
from services.runtime.tracing import Tracer
from services.storage.archive import EventArchive
from services.storage.labels import LabelStore
from services.storage.payload_cache import RedisWindow

CONNECTIONS_MAX = 512
LAST_TURN_S = 10
_log = logging.getLogger(__name__)


async def serve(
    settings: Settings, listener: socket.socket, token: str, metrics: GatewayMetrics, progress: Progress
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    broker, topics, g = settings.kafka, settings.topic_names(), settings.gateway
    rooms = SessionStore(HistoryLimits(g.sessions_max, g.history_mb * 1024 * 1024, g.history_s * 1_000_000))
    sources, ring = SourceStore(g.silent_s * 1_000_000), EventStream(secrets.token_hex(4))
    keep, tracer = settings.archive, Tracer(settings.tracing, "braid-gateway")
    controls = Controls.following(settings)
    hidden = Redactor(controls.of)
    store = EventArchive(keep.folder, keep.days, keep.max_mb * 1_000_000)
    keeper = EventArchiver(
        store,
        lambda: clients.reader(broker, **clients.LOOKUP),
        topics,
        settings.topics.partitions,
        settings.semantics().future_us,
        hidden,
        metrics,
    )
    follower = GatewayFollower(
        lambda: clients.make_reader(broker),
        topics,
        settings.topics.partitions,
        rooms,
        sources,
        ring,
        keeper,
        hidden,
        broker.seal(),
        metrics,
        progress,
    )
    controls.listen(ControlApplier(rooms, sources, ring, keeper))
    redis = RedisWindow.of(settings.redis)
    media = MediaReader(
        redis, lambda: clients.make_reader(broker, auto_offset_reset="none", **clients.LOOKUP), topics, metrics
    )
    async with retry.producer(broker, progress) as producer:
        semantics = settings.semantics()
        taking = IngestHandler(
            producer,
            topics,
            semantics.admission,
            settings.limits.payload_bytes_max,
            DeviceDirectory(settings.devices),
            metrics,
            tracer,
        )
        labelling = LabelHandler(
            LabelStore(settings.labels.folder),
            store,
            lambda: clients.reader(broker, **clients.LOOKUP),
            topics,
            settings.topics.partitions,
            semantics.future_us,
            hidden,
        )
        kept = ArchiveReader(store, topics)
        api = Api(
            rooms, sources, ring, media, kept, taking, labelling, topics, semantics, g.streams_max, hidden, metrics
        )
        guarded = AuthMiddleware(
            Starlette(routes=api.routes()), AccessPolicy(token, (g.host, *g.allowed_hosts)), metrics
        )
        config = uvicorn.Config(
            guarded,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=20,
            timeout_graceful_shutdown=LAST_TURN_S,
        )
        # Nothing is shown before all is known that must not be.
        await retry.started(controls.start, progress)
        obeying = asyncio.create_task(controls.wait())
        following = asyncio.create_task(follower.run(g.look_back_s))
        keeping = asyncio.create_task(keeper.run())
        # uvicorn raises a signal again once it has ended cleanly: by then it has done its work.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        loop = asyncio.get_running_loop()
        server = _Server(config, lambda: loop.call_soon_threadsafe(ring.end))
        for task in (following, obeying):
            task.add_done_callback(lambda _: setattr(server, "should_exit", True))
        try:
            await server.serve(sockets=[listener])
            for task in (following, obeying):
                if task.done():
                    task.result()
        finally:
            for task in (following, keeping, obeying):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await controls.stop()
            await media.close()
            await asyncio.to_thread(tracer.close)


class _Server(uvicorn.Server):
    """Lets the event streams end by themselves: uvicorn would wait for them, then cut them off and log errors."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end: from a signal handler, so nothing is done here but said."""
        self._on_exit()
        super().handle_exit(sig, frame)
