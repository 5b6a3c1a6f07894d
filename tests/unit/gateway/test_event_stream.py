"""Readers of the event stream, each at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from services.gateway.event_stream import EventStream, StreamEntry
from tests.unit.gateway.records import chunk
from tests.waiting import DEADLINE_S


async def take(stream: AsyncIterator[StreamEntry], count: int) -> list[StreamEntry]:
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(stream) for _ in range(count)]


def filled(count: int, messages_max: int = 100) -> EventStream:
    ring = EventStream("boot", messages_max)
    for n in range(count):
        ring.append(chunk(offset=n))
    return ring


async def test_a_reader_gets_what_comes_after_its_place() -> None:
    ring = filled(3)
    messages = await take(ring.read_after("boot.1", lambda told: True), 2)
    assert [m.id for m in messages] == ["boot.2", "boot.3"]


async def test_a_reader_without_a_place_waits_for_what_is_new() -> None:
    ring = filled(3)
    waiting = asyncio.ensure_future(take(ring.read_after(None, lambda told: True), 1))
    await asyncio.sleep(0)
    ring.append(chunk(offset=9))
    ring.wake()
    (message,) = await waiting
    assert message.message is not None
    assert message.message.key == "text 2 9"


async def test_a_place_that_is_gone_or_of_another_start_is_answered_with_a_reset() -> None:
    ring = filled(10, messages_max=4)
    for place in ("boot.2", "other.9", "nonsense", "boot.99", "boot.-1", "boot.²"):
        (message,) = await take(ring.read_after(place, lambda told: True), 1)
        assert (message.message, message.id) == (None, "boot.10"), place
    (kept,) = await take(ring.read_after("boot.6", lambda told: True), 1)
    assert kept.id == "boot.7"


async def test_a_whole_record_is_not_kept_for_readers_who_are_told_a_part_of_it() -> None:
    ring, whole = filled(0), replace(chunk(offset=1), full=b"all of it")
    ring.append(whole)
    (message,) = await take(ring.read_after("boot.0", lambda told: True), 1)
    assert message.message == replace(whole, full=None)


async def test_ids_count_what_was_not_wanted_too() -> None:
    ring = filled(5)
    (only,) = await take(ring.read_after("boot.0", lambda told: told.key == "text 2 3"), 1)
    assert only.id == "boot.4"


async def test_readers_come_to_their_end_with_the_ring() -> None:
    ring = filled(1)
    waiting = asyncio.ensure_future(anext(ring.read_after(None, lambda told: True), None))
    await asyncio.sleep(0)
    ring.end()
    async with asyncio.timeout(DEADLINE_S):
        assert await waiting is None
