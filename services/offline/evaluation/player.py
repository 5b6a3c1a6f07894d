"""Plays recordings through Kafka, each record when it arrived, on the monotonic clock and whatever happens after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from services.contract.topics import Topics
from services.offline.evaluation.dataset import RecordedStream, StreamRecord

HOP_US = 1_000_000


@dataclass(frozen=True, slots=True)
class PlaybackSchedule:
    """How stream time becomes wall time and event time (all in us; wall: since the epoch).

    At speed 1 event time is now. At other speeds event times run on at their own pace and end with the play, so that
    none is ever in the future.
    """

    begins_wall_us: int
    from_us: int
    to_us: int
    speed: float

    @classmethod
    def live(cls, now_us: int, from_s: float, seconds: float) -> PlaybackSchedule:
        """In real time from the next whole second on: so many seconds of the stream, beginning at from_s."""
        return cls((now_us // HOP_US + 1) * HOP_US, round(from_s * 1e6), round((from_s + seconds) * 1e6), 1)

    @property
    def origin_us(self) -> int:
        """The event time of stream second 0, on whole seconds, so that a run has the same windows each time."""
        ends_wall_us = self.begins_wall_us + (self.to_us - self.from_us) / self.speed
        return int(ends_wall_us - self.to_us) // HOP_US * HOP_US

    def wall_us(self, stream_us: int) -> int:
        """When an instant of the stream is played, since the epoch."""
        if self.speed == 1:
            return self.origin_us + stream_us
        return self.begins_wall_us + int((stream_us - self.from_us) / self.speed)


@dataclass(frozen=True, slots=True)
class Played:
    """How many records were sent, ends aside."""

    chunks_sent: int


async def play_streams(
    producer: AIOKafkaProducer,
    topics: Topics,
    recordings: Mapping[str, RecordedStream],
    schedule: PlaybackSchedule,
    clock_us: int,
) -> Played:
    """Send the recordings (by session) side by side; clock_us: the wall clock now. Raises KafkaError."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    queue = sorted(
        (
            (sending.arrived_us, session, sending)
            for session, recording in recordings.items()
            for sending in recording.records_between(session, schedule.origin_us, schedule.from_us, schedule.to_us)
        ),
        key=lambda item: item[:2],
    )
    waiting: list[asyncio.Future[object]] = []
    sent = 0
    for arrived_us, session, sending in queue:
        wait_s = (schedule.wall_us(arrived_us) - clock_us) / 1e6 - (loop.time() - began)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        if arrived_us == schedule.to_us:
            await _all(waiting)  # an end says that all before it is there
        waiting.append(await _send(producer, topics, session, sending))
        sent += arrived_us < schedule.to_us
    await _all(waiting)
    return Played(sent)


async def _send(
    producer: AIOKafkaProducer, topics: Topics, session: str, sending: StreamRecord
) -> asyncio.Future[object]:
    handed: asyncio.Future[object] = await producer.send(
        topics.media(sending.modality), sending.value, key=session.encode(), headers=sending.headers
    )
    return handed


async def _all(waiting: list[asyncio.Future[object]]) -> Sequence[object]:
    done = await asyncio.gather(*waiting)
    waiting.clear()
    return done
