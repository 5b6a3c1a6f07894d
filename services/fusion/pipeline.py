"""Stages that work side by side: while one batch is at the device the next is made ready and the last one is published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any


class Pipeline:
    """Each stage has one batch at a time, and batches pass all stages in the order in which they came.

    A context: on leaving it every batch is through. The first failure of a stage ends all batches behind it, and is
    raised. stages: each takes what the one before it returned.
    """

    def __init__(self, *stages: Callable[[Any], Awaitable[Any]]) -> None:
        self._stages = stages
        self._free = [asyncio.Lock() for _ in stages]
        self._tasks = asyncio.TaskGroup()
        self._held = False

    async def __aenter__(self) -> Pipeline:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as found:
            raise found.exceptions[0] from None

    async def ready(self) -> None:
        """Wait until the first stage is free; who waits then puts a batch, or leaves."""
        if not self._held:
            await self._free[0].acquire()
            self._held = True

    def put(self, batch: Any) -> None:
        """Hand a batch to the first stage, after `ready`."""
        self._held = False
        self._tasks.create_task(self._through(batch))

    async def _through(self, batch: Any) -> None:
        held = self._free[0]
        try:
            for stage, free in zip(self._stages, self._free, strict=True):
                if free is not held:
                    # Locks are fair, and this one is asked for before the one behind is given back: none overtakes.
                    await free.acquire()
                    held.release()
                    held = free
                batch = await stage(batch)
        finally:
            held.release()
