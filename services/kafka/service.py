"""Run a service as a process: logs, health, watchdog, and a Faust app whose agent works on the consumer loop's batches.

The app starts sensors, agents and the consumer loop, and none of Faust's consumer, conductor or tables: their
acknowledgement rules lose data when an agent crashes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from faust.app.base import BootStrategy
from prometheus_client import CollectorRegistry

from services.contract.user_errors import EXIT_USAGE
from services.kafka.broker_liveness import broker_dependency
from services.kafka.consumer_loop import ConsumerLoop, Work
from services.kafka.signing_secret import MissingSecretError, check_secret
from services.runtime import logs
from services.runtime.health import supervised
from services.runtime.process import freeze_loaded_objects
from services.runtime.server_watch import Dependency
from services.runtime.settings import Settings


def make_app(name: str, bootstrap_servers: str, intake: ConsumerLoop, work: Work) -> faust.App:
    """The app around an intake and its work; run it with faust.Worker."""
    app = faust.App(
        name,
        broker=f"kafka://{bootstrap_servers}",
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        # Faust makes this folder though nothing of ours is ever written there.
        datadir=tempfile.gettempdir(),
        agent_supervisor="mode.supervisors.CrashingSupervisor",
    )
    intake.batches = app.channel(maxsize=2)

    class Boot(BootStrategy):
        def server(self) -> Iterable[Any]:
            started: Iterable[Any] = self._chain(self.sensors(), self.agents(), [intake])
            return started

    app.boot_strategy = Boot(app)
    # Channel agents wait for this; Faust's consumer would have done it after its own first assignment.
    app.flow_control.resume()

    @app.agent(intake.batches, name=f"{name}.agent")
    async def agent(stream: faust.StreamT[Any]) -> None:
        async for done, batch in stream:
            try:
                await work.process(intake.consumer, batch)
            except asyncio.CancelledError:
                done.cancel()
                raise
            except BaseException as error:
                # The consumer loop waits for this batch, and decides whether it is read again or the process ends.
                done.set_exception(error)
            else:
                done.set_result(None)

    return app


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What makes one service.

    Attributes:
        name: Name in logs and health.
        make_consumer: Creates its group consumer.
        topics: Topics that it consumes.
        work: What it does with records.
        registry: Its metrics.
        records_max: Most records in a batch.
        refusals: Errors whose message says what to change; the service then exits with code 2, as for wrong settings.
        dependencies: Servers that it needs beside Kafka.
        tune_gc: Called once when everything is loaded.
    """

    name: str
    make_consumer: Callable[[], AIOKafkaConsumer]
    topics: Sequence[str]
    work: Work
    registry: CollectorRegistry
    records_max: int
    refusals: tuple[type[Exception], ...] = ()
    dependencies: Sequence[Dependency] = ()
    tune_gc: Callable[[], None] = freeze_loaded_objects


def run(make_spec: Callable[[Settings], ServiceSpec], settings: Settings) -> int:
    """Run a service until SIGTERM or Ctrl-C; return the exit code (0 after a clean stop)."""
    logs.setup()
    settings.require_broker()
    spec = make_spec(settings)
    dependencies = (broker_dependency(settings.kafka), *spec.dependencies)
    with supervised(spec.name, settings, spec.registry, dependencies) as progress:
        intake = ConsumerLoop(
            spec.make_consumer,
            spec.topics,
            spec.work,
            progress,
            spec.records_max,
            settings.topics.partitions,
            (*spec.refusals, MissingSecretError),
            check=lambda: check_secret(settings),
        )
        app = make_app(spec.name, settings.kafka.bootstrap_servers, intake, spec.work)
        spec.tune_gc()
        worker = faust.Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False, override_logging=False)
        try:
            worker.execute_from_commandline()
        except SystemExit as ended:
            code = int(ended.code or 0) if not isinstance(ended.code, str) else 1
        else:
            code = 0
    if intake.refused is not None:
        print(f"{spec.name}: {intake.refused}", file=sys.stderr)
        return EXIT_USAGE
    return code
