"""What is wanted of a source, and what was sent of it so far.

Sends what a source shows, at its own pace: live as it comes, a file as if it were captured now.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer

from services.contract import cloudevents
from services.contract.topics import Topics
from services.integrations.capture.audio_chunker import AudioChunker, PcmChunk
from services.integrations.capture.decoder import CHANNELS, RATE, CaptureDecoder, CapturedItem, CaptureError, SourceLost
from services.integrations.capture.source import CaptureSource
from services.integrations.capture.stream_clock import StreamClock
from services.runtime.devices import DeviceDirectory, EventTimestamp


@dataclass(slots=True)
class SendCounts:
    """What was sent of one source so far."""

    name: str
    frames: int = 0
    audio_us: int = 0
    bytes: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """How to capture: pictures in a second at most, pixels of one at most, from second from_s of a file, for so long."""

    fps: float
    pixels_max: int
    from_s: float = 0
    seconds: float | None = None


JPEG = "image/jpeg"
AGAIN_S = 2.0
# Sound whose time stamps jump by more has lost something on its way.
PAUSE_US = 100_000
HELD_MAX = 2_000
T = TypeVar("T")


class Sender:
    """One source into one session, or that which `devices` says; device: as in `ce_source`; say: tells people what goes on."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topics: Topics,
        devices: DeviceDirectory,
        session: str,
        device: str,
        opening: CaptureSource,
        wanted: CaptureOptions,
        say: Callable[[str], None],
    ) -> None:
        self._producer, self._topics, self._devices = producer, topics, devices
        self._session, self._device = session, device
        self._opening, self._wanted, self._say = opening, wanted, say
        self._run, self._number = secrets.token_hex(6), 0
        self._began_us: int | None = None
        self._ends_us: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1, "capture")
        self.sent = SendCounts(opening.name)

    async def run(self) -> SendCounts:
        """Until the file ends or the time is over; a live source that is lost is opened again. Raises CaptureError."""
        try:
            while True:
                try:
                    await self._capture()
                    return self.sent
                except SourceLost as lost:
                    self._say(f"{self._opening.name} is lost ({lost}): trying again every {AGAIN_S:g} s")
                    self.sent.lost += 1
                    await asyncio.sleep(AGAIN_S)
        finally:
            await self._end()
            self._thread.shutdown(wait=False)

    async def _capture(self) -> None:
        wanted = self._wanted
        try:
            capture = await self._in_thread(CaptureDecoder, self._opening, wanted.fps, wanted.pixels_max, wanted.from_s)
        except CaptureError as error:
            # The first opening must succeed; a camera that was there once may take its time to come back.
            if self.sent.lost:
                raise SourceLost(str(error)) from None
            raise
        try:
            self._say(f"{self._opening.name}: {capture.description}")
            await (self._live if self._opening.live else self._file)(capture.items())
        finally:
            await asyncio.shield(self._in_thread(capture.close))

    async def _live(self, items: Iterator[CapturedItem]) -> None:
        line, sound, held = StreamClock(), AudioChunker(PAUSE_US), list[CapturedItem]()
        while (item := await self._in_thread(next, items, None)) is not None:
            now_us = time.time_ns() // 1000
            line.observe(item.ends_us, now_us)
            held.append(item)
            if not line.settled and len(held) < HELD_MAX:
                continue
            stamped = [(one, line.event_time_us(one.begins_us)) for one in held]
            held.clear()
            for one, t_us in stamped:
                if self._over(t_us):
                    break
                await self._send(one, t_us, sound)
            if self._over(stamped[-1][1]):
                break
        else:
            raise SourceLost("it ended")
        for left in sound.flush():
            await self._sound(left)

    async def _file(self, items: Iterator[CapturedItem]) -> None:
        sound, origin_us = AudioChunker(PAUSE_US), None
        while (item := await self._in_thread(next, items, None)) is not None:
            now_us = time.time_ns() // 1000
            if origin_us is None:
                origin_us = now_us - item.begins_us
            wait_us = origin_us + item.ends_us - now_us
            if wait_us > 0:
                await asyncio.sleep(wait_us / 1e6)
            if self._over(origin_us + item.begins_us):
                break
            await self._send(item, origin_us + item.begins_us, sound)
        for left in sound.flush():
            await self._sound(left)

    def _over(self, t_us: int) -> bool:
        if self._began_us is None:
            self._began_us = t_us
        return self._wanted.seconds is not None and t_us - self._began_us >= self._wanted.seconds * 1e6

    async def _send(self, item: CapturedItem, t_us: int, sound: AudioChunker) -> None:
        if not item.sound:
            await self._record("video", JPEG, item.body, t_us, t_us)
            return
        for piece in sound.add(item.body, RATE, CHANNELS, t_us):
            await self._sound(piece)

    async def _sound(self, piece: PcmChunk) -> None:
        await self._record("audio", piece.content_type, piece.body, piece.t_us, piece.ends_us)

    async def _record(self, modality: str, content_type: str, body: bytes, t_us: int, ends_us: int) -> None:
        if (device := self._devices.settings_of(self._source(modality))) and device.modality not in ("", modality):
            return
        self.sent.bytes += len(body)
        self.sent.frames += modality == "video"
        self.sent.audio_us += ends_us - t_us
        self._ends_us[modality] = max(ends_us, self._ends_us.get(modality, 0))
        stamp = self._devices.stamp(self._source(modality), t_us)
        sent = await self._put(modality, cloudevents.media_type(modality), content_type, body, stamp)
        if stamp.recorded_us is not None:
            done = await sent
            self._devices.acknowledged(stamp, ends_us - t_us, done.timestamp)

    async def _end(self) -> None:
        """Say of each sense that it is over, so that nobody waits for it."""
        for modality, ends_us in self._ends_us.items():
            stamp = self._devices.stamp(self._source(modality), ends_us)
            await self._put(modality, cloudevents.SESSION_END_TYPE, "application/json", b"", stamp)

    async def _put(
        self, modality: str, kind: str, content_type: str, body: bytes, stamp: EventTimestamp
    ) -> Awaitable[Any]:
        source, self._number = self._source(modality), self._number + 1
        device = self._devices.settings_of(source)
        session = (device.session if device else "") or self._session
        headers = cloudevents.build_headers(
            session=session,
            source=source,
            id=f"{self._run}-{self._number}",
            type=kind,
            t_us=stamp.t_us,
            content_type=content_type,
            extensions=stamp.extensions,
        )
        topic = self._topics.media(modality)
        sent: Awaitable[Any] = await self._producer.send(topic, body, key=session.encode(), headers=headers)
        return sent

    def _source(self, modality: str) -> str:
        return cloudevents.device_source(self._device, modality)

    async def _in_thread(self, do: Callable[..., T], *given: object) -> T:
        """In the source's one thread: a device is never read and closed at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, do, *given)
