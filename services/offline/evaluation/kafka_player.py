"""Play recorded streams through Kafka: send each record when it arrived, on the monotonic clock."""

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
    """The mapping from stream time to wall time and event time (all in us, wall time since the epoch).

    At speed 1 event time is wall time. At other speeds event times keep the pace of the stream and end with the
    playback, so that none is ever in the future.
    """

    begins_wall_us: int
    from_us: int
    to_us: int
    speed: float

    @classmethod
    def live(cls, now_us: int, from_s: float, seconds: float) -> PlaybackSchedule:
        """Play `seconds` of the stream from from_s on, in real time, beginning at the next whole second."""
        return cls((now_us // HOP_US + 1) * HOP_US, round(from_s * 1e6), round((from_s + seconds) * 1e6), 1)

    @property
    def origin_us(self) -> int:
        """The event time of stream second 0: a whole second, so that each playback has the same windows."""
        ends_wall_us = self.begins_wall_us + (self.to_us - self.from_us) / self.speed
        return int(ends_wall_us - self.to_us) // HOP_US * HOP_US

    def wall_us(self, stream_us: int) -> int:
        """Return the wall time at which a stream time is played."""
        if self.speed == 1:
            return self.origin_us + stream_us
        return self.begins_wall_us + int((stream_us - self.from_us) / self.speed)


@dataclass(frozen=True, slots=True)
class Played:
    """How many records were sent, ends aside, in all and by session."""

    chunks_sent: int
    by_session: Mapping[str, int]


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
    sent = dict.fromkeys(recordings, 0)
    for arrived_us, session, sending in queue:
        wait_s = (schedule.wall_us(arrived_us) - clock_us) / 1e6 - (loop.time() - began)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        if arrived_us == schedule.to_us:
            await _all(waiting)  # a session end says that all before it is in the log
        waiting.append(await _send(producer, topics, session, sending))
        sent[session] += arrived_us < schedule.to_us
    await _all(waiting)
    return Played(sum(sent.values()), sent)


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
