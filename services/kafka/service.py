"""Runs a service as a process: logs, health, watchdog and the Faust worker around its app."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faust
from aiokafka import AIOKafkaConsumer
from prometheus_client import CollectorRegistry

from services.kafka.consumer_loop import Intake, Work
from services.kafka.faust_app import make_app
from services.runtime import logs
from services.runtime.exits import EXIT_SETTINGS, NO_BROKER
from services.runtime.gc_tuning import leave_loaded
from services.runtime.health import watched
from services.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes one service: its name, group consumer, topics, work, and how many records a batch may have.

    refusals: errors whose message tells people what to change; the service then ends with code 2, as for bad settings.
    garbage: called once all is loaded, says how often cycles are looked for.
    """

    name: str
    make_consumer: Callable[[], AIOKafkaConsumer]
    topics: Sequence[str]
    work: Work
    registry: CollectorRegistry
    records_max: int
    refusals: tuple[type[Exception], ...] = ()
    garbage: Callable[[], None] = leave_loaded


def run(plan: Callable[[Settings], Plan], settings: Settings) -> int:
    """Run a service until SIGTERM or Ctrl-C; the exit code (0 after a clean stop)."""
    logs.setup()
    if not settings.kafka.bootstrap_servers:
        print(NO_BROKER, file=sys.stderr)
        return EXIT_SETTINGS
    made = plan(settings)
    with watched(made.name, settings, made.registry) as progress:
        intake = Intake(made.make_consumer, made.topics, made.work, progress, made.records_max, made.refusals)
        app = make_app(made.name, settings.kafka.bootstrap_servers, intake, made.work)
        made.garbage()
        worker = faust.Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False, override_logging=False)
        try:
            worker.execute_from_commandline()
        except SystemExit as ended:
            code = int(ended.code or 0) if not isinstance(ended.code, str) else 1
        else:
            code = 0
    if intake.refused is not None:
        print(f"{made.name}: {intake.refused}", file=sys.stderr)
        return EXIT_SETTINGS
    return code
