"""The aligner as a Faust app: agents align by session, our own intake feeds them and commits.

The boot strategy starts sensors, agents and the intake, and none of Faust's consumer, conductor or tables: their
acknowledgement rules lose data when an agent crashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode.services import ServiceT

from services.aligner.intake import Intake
from services.aligner.worker import Batch, Worker


def make_app(name: str, bootstrap_servers: str, worker: Worker, make_intake: Callable[[faust.App, Any], Intake]) -> faust.App:
    """The app around a worker; `make_intake` gets the app and the channel that its agent reads."""
    app = faust.App(
        name,
        broker=f"kafka://{bootstrap_servers}",
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        agent_supervisor="mode.supervisors.CrashingSupervisor",
    )
    batches = app.channel(maxsize=2)
    intake = make_intake(app, batches)

    class Boot(BootStrategy):  # type: ignore[misc]
        def server(self) -> Iterable[ServiceT]:
            started: Iterable[ServiceT] = self._chain(self.sensors(), self.agents(), [intake])
            return started

    app.boot_strategy = Boot(app)

    @app.agent(batches)
    async def align(stream: faust.Stream[tuple[asyncio.Future[None], Batch]]) -> None:
        async for done, batch in stream:
            try:
                await worker.process(intake.consumer, batch)
            except BaseException as error:
                # The intake waits for this batch: it must hear of the failure, or it would wait for ever.
                done.set_exception(error)
                raise
            done.set_result(None)

    return app
