"""A service as a process: logs, health, watchdog and the Faust worker around its app."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faust
from aiokafka import AIOKafkaConsumer
from prometheus_client import CollectorRegistry

from services.contract.errors import EXIT_USAGE
from services.kafka.consumer_loop import ConsumerLoop, Work
from services.kafka.faust_app import make_app
from services.runtime import logs
from services.runtime.gc_tuning import freeze_loaded_objects
from services.runtime.health import supervised
from services.runtime.settings import Settings


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
        tune_gc: Called once when everything is loaded.
    """

    name: str
    make_consumer: Callable[[], AIOKafkaConsumer]
    topics: Sequence[str]
    work: Work
    registry: CollectorRegistry
    records_max: int
    refusals: tuple[type[Exception], ...] = ()
    tune_gc: Callable[[], None] = freeze_loaded_objects


def run(make_spec: Callable[[Settings], ServiceSpec], settings: Settings) -> int:
    """Run a service until SIGTERM or Ctrl-C; return the exit code (0 after a clean stop)."""
    logs.setup()
    settings.require_broker()
    spec = make_spec(settings)
    with supervised(spec.name, settings, spec.registry) as progress:
        intake = ConsumerLoop(spec.make_consumer, spec.topics, spec.work, progress, spec.records_max, spec.refusals)
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
