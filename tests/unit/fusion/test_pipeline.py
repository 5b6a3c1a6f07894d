"""Stages work side by side, keep the order, and stop behind a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from services.fusion.pipeline import StagePipeline


class Stage:
    """Holds each batch until it is released; records current and past batches."""

    def __init__(self, fails_on: int | None = None) -> None:
        self.has: list[int] = []
        self.had: list[int] = []
        self.go = asyncio.Semaphore(0)
        self._fails_on = fails_on

    async def __call__(self, batch: int) -> int:
        self.has.append(batch)
        await self.go.acquire()
        self.has.remove(batch)
        if batch == self._fails_on:
            raise ValueError(str(batch))
        self.had.append(batch)
        return batch


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def put(pipeline: StagePipeline, batches: Iterable[int]) -> None:
    for batch in batches:
        await pipeline.wait_ready()
        pipeline.put(batch)


async def fed(pipeline: StagePipeline, count: int) -> None:
    await put(pipeline, range(count))
    await pipeline.drain()


def test_three_batches_are_in_three_stages_at_the_same_time() -> None:
    async def run() -> None:
        stages = [Stage() for _ in range(3)]
        feeding = asyncio.ensure_future(fed(StagePipeline(*stages), 5))
        await settle()
        for number in (0, 1, 0):
            stages[number].go.release()
            await settle()
        assert [stage.has for stage in stages] == [[2], [1], [0]]
        for stage in stages:
            for _ in range(5):
                stage.go.release()
        await feeding
        assert [stage.had for stage in stages] == [[0, 1, 2, 3, 4]] * 3

    asyncio.run(run())


def test_a_stage_has_one_batch_at_a_time() -> None:
    async def run() -> None:
        ready, device = Stage(), Stage()
        for _ in range(9):
            ready.go.release()
        feeding = asyncio.ensure_future(fed(StagePipeline(ready, device), 5))
        await settle()
        assert (ready.had, device.has) == ([0, 1], [0])
        for _ in range(5):
            device.go.release()
        await feeding

    asyncio.run(run())


def test_nothing_passes_a_failed_batch_and_the_failure_is_raised() -> None:
    async def run() -> None:
        ready, device, publish = Stage(), Stage(fails_on=1), Stage()
        for stage in (ready, device, publish):
            for _ in range(9):
                stage.go.release()
        with pytest.raises(ValueError, match="1"):
            await fed(StagePipeline(ready, device, publish), 5)
        assert publish.had in ([], [0])

    asyncio.run(run())


def test_a_failure_is_raised_for_the_next_batch() -> None:
    async def run() -> None:
        device = Stage(fails_on=0)
        pipeline = StagePipeline(device)
        await put(pipeline, [0])
        device.go.release()
        await settle()
        for _ in range(2):
            with pytest.raises(ValueError, match="0"):
                await pipeline.wait_ready()
        assert list(pipeline.in_flight) == []

    asyncio.run(run())


def test_no_batch_passes_a_cancelled_one() -> None:
    async def gives_up(batch: int) -> int:
        if batch == 0:
            raise asyncio.CancelledError
        return batch

    async def run() -> None:
        publish = Stage()
        publish.go.release()
        pipeline = StagePipeline(gives_up, publish)
        with pytest.raises(asyncio.CancelledError):
            await fed(pipeline, 2)
        assert publish.had == []

    asyncio.run(run())


def test_later_batches_join_those_in_flight() -> None:
    async def run() -> None:
        ready, device = Stage(), Stage()
        for _ in range(9):
            ready.go.release()
        pipeline = StagePipeline(ready, device)
        await put(pipeline, [0])
        await settle()
        await put(pipeline, [1])
        await settle()
        assert (ready.had, device.has) == ([0, 1], [0])
        assert list(pipeline.in_flight) == [0, 1]
        device.go.release()
        await settle()
        assert list(pipeline.in_flight) == [1]
        device.go.release()
        await pipeline.drain()
        assert (device.had, list(pipeline.in_flight)) == ([0, 1], [])

    asyncio.run(run())


def test_stop_cancels_all_stages() -> None:
    async def run() -> None:
        stage = Stage()
        pipeline = StagePipeline(stage)
        await put(pipeline, [0])
        await settle()
        await pipeline.stop()
        assert (stage.has, stage.had) == ([0], [])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
