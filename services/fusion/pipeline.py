"""Stages that work side by side: while one batch is at the device the next is made ready and the last one is published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any


class Pipeline:
    """Each stage has one batch at a time, and batches pass all stages in the order in which they came.

    It lives as long as its owner wants: batches are put in, and may be waited for, at any time. After the first failure of
    a stage no batch goes on to another one, and `ready` and `drained` raise it. stages: each takes what the one before it
    returned.
    """

    def __init__(self, *stages: Callable[[Any], Awaitable[Any]]) -> None:
        self._stages = stages
        self._free = [asyncio.Lock() for _ in stages]
        self._tasks: dict[asyncio.Task[None], Any] = {}
        self._failure: BaseException | None = None
        self._held = False

    @property
    def under_way(self) -> Sequence[Any]:
        """What was put and is not through, oldest first."""
        return tuple(self._tasks.values())

    async def ready(self) -> None:
        """Wait until the first stage is free; who waits then puts a batch, now or later."""
        if not self._held:
            await self._free[0].acquire()
            self._held = True
        self._tell()

    def put(self, batch: Any) -> None:
        """Hand a batch to the first stage, after `ready`."""
        self._held = False
        task = asyncio.get_running_loop().create_task(self._through(batch))
        self._tasks[task] = batch
        task.add_done_callback(self._tasks.pop)

    async def drained(self) -> None:
        """Wait until every batch is through."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._tell()

    async def stop(self) -> None:
        """End what is on its way, wherever it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tell(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _through(self, batch: Any) -> None:
        held = self._free[0]
        try:
            for stage, free in zip(self._stages, self._free, strict=True):
                if free is not held:
                    # Locks are fair, and this one is asked for before the one behind is given back: none overtakes.
                    await free.acquire()
                    held.release()
                    held = free
                if self._failure is not None:
                    return
                batch = await stage(batch)
        except BaseException as error:
            # A batch that was cancelled alone is as lost as one that failed: none behind it may count as done.
            self._failure = self._failure or error
            if not isinstance(error, Exception):
                raise
        finally:
            held.release()
