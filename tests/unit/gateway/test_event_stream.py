"""Readers of the event stream, each at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from services.gateway.message_buffer import EventStream, StreamEntry
from tests.unit.gateway.records import chunk
from tests.waiting import DEADLINE_S


async def read(entries: AsyncIterator[StreamEntry], count: int) -> list[StreamEntry]:
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(entries) for _ in range(count)]


def filled(count: int, messages_max: int = 100) -> EventStream:
    stream = EventStream("boot", messages_max)
    for n in range(count):
        stream.append(chunk(offset=n))
    return stream


async def test_a_reader_gets_the_messages_after_its_id() -> None:
    stream = filled(3)
    messages = await read(stream.read_after("boot.1", lambda message: True), 2)
    assert [m.id for m in messages] == ["boot.2", "boot.3"]


async def test_a_reader_without_an_id_waits_for_new_messages() -> None:
    stream = filled(3)
    waiting = asyncio.ensure_future(read(stream.read_after(None, lambda message: True), 1))
    await asyncio.sleep(0)
    stream.append(chunk(offset=9))
    stream.wake()
    (message,) = await waiting
    assert message.message is not None
    assert message.message.key == "text 2 9"


async def test_an_id_that_is_gone_or_of_another_process_gets_a_reset() -> None:
    stream = filled(10, messages_max=4)
    for id in ("boot.2", "other.9", "nonsense", "boot.99", "boot.-1", "boot.²"):
        (message,) = await read(stream.read_after(id, lambda message: True), 1)
        assert (message.message, message.id) == (None, "boot.10"), id
    (entry,) = await read(stream.read_after("boot.6", lambda message: True), 1)
    assert entry.id == "boot.7"


async def test_whole_records_are_not_held_for_readers() -> None:
    stream, whole = filled(0), replace(chunk(offset=1), full=b"all of it")
    stream.append(whole)
    (message,) = await read(stream.read_after("boot.0", lambda message: True), 1)
    assert message.message == replace(whole, full=None)


async def test_ids_also_count_messages_that_a_reader_does_not_want() -> None:
    stream = filled(5)
    (only,) = await read(stream.read_after("boot.0", lambda message: message.key == "text 2 3"), 1)
    assert only.id == "boot.4"


async def test_readers_end_with_the_stream() -> None:
    stream = filled(1)
    waiting = asyncio.ensure_future(anext(stream.read_after(None, lambda message: True), None))
    await asyncio.sleep(0)
    stream.end()
    async with asyncio.timeout(DEADLINE_S):
        assert await waiting is None


async def test_the_oldest_messages_are_dropped_beyond_the_limit_of_bytes() -> None:
    stream = EventStream("boot", bytes_max=3 * chunk(offset=0).size_bytes)
    for n in range(8):
        stream.append(chunk(offset=n))
    (reset,) = await read(stream.read_after("boot.4", lambda message: True), 1)
    assert reset.message is None
    kept = await read(stream.read_after("boot.5", lambda message: True), 3)
    assert [entry.message.key for entry in kept if entry.message is not None] == ["text 2 5", "text 2 6", "text 2 7"]
