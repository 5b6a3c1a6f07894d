"""Clients that are stopped: they can be cancelled meanwhile, and cancel nobody else."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.consumer.group_coordinator import NoGroupCoordinator

from services.kafka import clients


@pytest.mark.parametrize("ticks", range(6))
async def test_cancellation_that_arrives_while_a_reader_stops_is_not_lost(ticks: int) -> None:
    reader = clients.make_reader("127.0.0.1:1")
    # What waits there is cancelled by `stop`, and takes any cancellation for that one.
    reader._coordinator = NoGroupCoordinator(reader._client, reader._subscription)
    stopped = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        await reader.stop()
        stopped.set()
        await asyncio.Event().wait()

    working = asyncio.create_task(work())
    for _ in range(ticks):
        await asyncio.sleep(0)
    working.cancel()
    done, _ = await asyncio.wait([working], timeout=10)
    assert done
    assert working.cancelled()
    await reader.stop()


async def test_cancelled_request_of_a_client_does_not_cancel_who_stops_it() -> None:
    async def stop() -> None:
        request = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        request.cancel()
        await request

    assert not await clients.ends_in_time(stop())


async def test_error_of_a_client_that_stops_is_raised() -> None:
    async def stop() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await clients.ends_in_time(stop())


async def test_client_that_does_not_stop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "STOP_WITHIN_S", 0.01)
    assert not await clients.ends_in_time(asyncio.sleep(60))
