"""The control topic while it cannot be read: it fails closed, keeps what it knows, and is read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from services.contract import mute_and_forget
from services.contract.kafka_record import KafkaRecord
from services.contract.mute_and_forget import Control
from services.contract.topics import Topics
from services.kafka import control_topic as module
from services.kafka.control_topic import ControlTopic
from tests.waiting import wait_until

TP = TopicPartition("braid.control.v1", 0)


class Follower:
    """A topic with one record, which fails at the next poll and, while `is_away`, at each start."""

    def __init__(self, record: KafkaRecord) -> None:
        self.record, self.is_away, self.fail = record, False, asyncio.Event()

    async def start(self) -> None:
        if self.is_away:
            raise KafkaConnectionError

    async def stop(self) -> None:
        pass

    async def poll(self, timeout_ms: int) -> dict[TopicPartition, list[KafkaRecord]]:
        await self.fail.wait()
        self.fail.clear()
        raise KafkaError("no fetch")

    async def poll_to_end(self) -> AsyncIterator[dict[TopicPartition, list[KafkaRecord]]]:
        yield {TP: [self.record]}


def record_of(control: Control) -> KafkaRecord:
    return KafkaRecord("braid.control.v1", 0, 0, 0, b"kitchen", (), mute_and_forget.encode(control))


async def test_control_topic_fails_closed_while_it_is_away_and_then_knows_what_was_written_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0)
    muted = Control("kitchen").mute(["video"], 1)
    follower = Follower(record_of(muted))
    controls = ControlTopic(cast(Any, lambda: None), Topics(), 1)
    controls._follower = cast(Any, follower)
    await controls.start()
    controls.raise_if_failed()

    def state() -> str:
        try:
            controls.raise_if_failed()
        except KafkaError as error:
            return type(error).__name__
        return "readable"

    async def failed() -> bool | None:
        return state() == "KafkaError" or None

    async def readable() -> bool | None:
        return state() == "readable" or None

    follower.is_away = True
    follower.fail.set()
    await wait_until(failed, "the failure")
    assert controls.for_session("kitchen") == muted
    follower.record, follower.is_away = record_of(muted.mute(["audio"], 2)), False
    await wait_until(readable, "the topic to be readable again")
    current = controls.for_session("kitchen")
    assert current is not None
    assert set(current.muted_since_us) == {"video", "audio"}
    await controls.stop()
