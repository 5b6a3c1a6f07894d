"""The Faust app of a service: an agent that does the work of the batches which our intake puts on its channel.

The boot strategy starts sensors, agents and the intake, and none of Faust's consumer, conductor or tables: their
acknowledgement rules lose data when an agent crashes.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from typing import Any

import faust
from faust.app.base import BootStrategy

from services.kafka.consumer_loop import ConsumerLoop, Work


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
                # The intake waits for this batch: it must hear of the failure, or it would wait for ever.
                done.set_exception(error)
                raise
            done.set_result(None)

    return app
