"""The sender of one captured source: a live source as it comes, a file as if it were captured now."""

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
from services.integrations.capture.decoder import (
    CHANNELS,
    RATE,
    CaptureDecoder,
    CapturedItem,
    CaptureError,
    SourceLost,
)
from services.integrations.capture.source_address import CaptureSource
from services.integrations.capture.stream_clock import StreamClock
from services.runtime.device_directory import DeviceDirectory, EventTimestamp

JPEG = "image/jpeg"
RETRY_S = 2.0
# A larger jump of the stream's time stamps means that audio was lost on its way.
PAUSE_US = 100_000
UNTIMED_MAX = 2_000
T = TypeVar("T")


@dataclass(slots=True)
class SendCounts:
    """What was sent of one source so far, and how often it was lost."""

    name: str
    frames: int = 0
    audio_us: int = 0
    bytes: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """The highest frame rate, the most pixels of a frame, the second at which a file begins, and the duration."""

    fps: float
    pixels_max: int
    from_s: float = 0
    seconds: float | None = None


class Sender:
    """Sends one source into a session, unless the settings of the device name another one.

    Args:
        producer: A started producer.
        topics: The names of the topics.
        devices: The devices of the settings.
        session: The session of devices that have none in the settings.
        device: The name of the device in `ce_source`.
        source: What is captured.
        options: How it is captured.
        report: Shows a line of text to a person.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topics: Topics,
        devices: DeviceDirectory,
        session: str,
        device: str,
        source: CaptureSource,
        options: CaptureOptions,
        report: Callable[[str], None],
    ) -> None:
        self._producer, self._topics, self._devices = producer, topics, devices
        self._session, self._device = session, device
        self._source, self._options, self._report = source, options, report
        self._run_id, self._count = secrets.token_hex(6), 0
        self._begin_us: int | None = None
        self._ends_us: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1, "capture")
        self.sent = SendCounts(source.name)

    async def run(self) -> SendCounts:
        """Send until the file or the time ends; open a lost live source again. Raises CaptureError."""
        try:
            while True:
                try:
                    await self._capture()
                    return self.sent
                except SourceLost as lost:
                    self._report(f"{self._source.name} is lost ({lost}): trying again every {RETRY_S:g} s")
                    self.sent.lost += 1
                    await asyncio.sleep(RETRY_S)
        finally:
            await self._send_ends()
            self._thread.shutdown(wait=False)

    async def _capture(self) -> None:
        options = self._options
        try:
            decoder = await self._in_thread(
                CaptureDecoder, self._source, options.fps, options.pixels_max, options.from_s
            )
        except CaptureError as error:
            # The first attempt must succeed; a source that was there once may take its time to come back.
            if self.sent.lost:
                raise SourceLost(str(error)) from None
            raise
        try:
            self._report(f"{self._source.name}: {decoder.description}")
            await (self._send_live if self._source.live else self._send_file)(decoder.items())
        finally:
            await asyncio.shield(self._in_thread(decoder.close))

    async def _send_live(self, items: Iterator[CapturedItem]) -> None:
        clock, chunker, untimed = StreamClock(), AudioChunker(PAUSE_US), list[CapturedItem]()
        while (item := await self._in_thread(next, items, None)) is not None:
            clock.observe(item.ends_us, time.time_ns() // 1000)
            untimed.append(item)
            if not clock.settled and len(untimed) < UNTIMED_MAX:
                continue
            timed = [(one, clock.event_time_us(one.begins_us)) for one in untimed]
            untimed.clear()
            for one, t_us in timed:
                if self._is_over(t_us):
                    break
                await self._send_item(one, t_us, chunker)
            if self._is_over(timed[-1][1]):
                break
        else:
            raise SourceLost("it ended")
        for chunk in chunker.flush():
            await self._send_audio(chunk)

    async def _send_file(self, items: Iterator[CapturedItem]) -> None:
        chunker, origin_us = AudioChunker(PAUSE_US), None
        while (item := await self._in_thread(next, items, None)) is not None:
            now_us = time.time_ns() // 1000
            if origin_us is None:
                origin_us = now_us - item.begins_us
            wait_us = origin_us + item.ends_us - now_us
            if wait_us > 0:
                await asyncio.sleep(wait_us / 1e6)
            if self._is_over(origin_us + item.begins_us):
                break
            await self._send_item(item, origin_us + item.begins_us, chunker)
        for chunk in chunker.flush():
            await self._send_audio(chunk)

    def _is_over(self, t_us: int) -> bool:
        if self._begin_us is None:
            self._begin_us = t_us
        return self._options.seconds is not None and t_us - self._begin_us >= self._options.seconds * 1e6

    async def _send_item(self, item: CapturedItem, t_us: int, chunker: AudioChunker) -> None:
        if not item.is_audio:
            await self._send_chunk("video", JPEG, item.body, t_us, t_us)
            return
        for chunk in chunker.add(item.body, RATE, CHANNELS, t_us):
            await self._send_audio(chunk)

    async def _send_audio(self, chunk: PcmChunk) -> None:
        await self._send_chunk("audio", chunk.content_type, chunk.body, chunk.t_us, chunk.ends_us)

    async def _send_chunk(self, modality: str, content_type: str, body: bytes, t_us: int, ends_us: int) -> None:
        device = self._devices.settings_of(self._source_name(modality))
        if device is not None and device.modality not in ("", modality):
            return
        self.sent.bytes += len(body)
        self.sent.frames += modality == "video"
        self.sent.audio_us += ends_us - t_us
        self._ends_us[modality] = max(ends_us, self._ends_us.get(modality, 0))
        stamp = self._devices.stamp(self._source_name(modality), t_us)
        sent = await self._send_record(modality, cloudevents.media_type(modality), content_type, body, stamp)
        if stamp.recorded_us is not None:
            metadata = await sent
            self._devices.acknowledged(stamp, ends_us - t_us, metadata.timestamp)

    async def _send_ends(self) -> None:
        """End each modality, so that no window waits for it."""
        for modality, ends_us in self._ends_us.items():
            stamp = self._devices.stamp(self._source_name(modality), ends_us)
            await self._send_record(modality, cloudevents.SESSION_END_TYPE, "application/json", b"", stamp)

    async def _send_record(
        self, modality: str, type: str, content_type: str, body: bytes, stamp: EventTimestamp
    ) -> Awaitable[Any]:
        source, self._count = self._source_name(modality), self._count + 1
        device = self._devices.settings_of(source)
        session = (device.session if device else "") or self._session
        headers = cloudevents.build_headers(
            session=session,
            source=source,
            id=f"{self._run_id}-{self._count}",
            type=type,
            t_us=stamp.t_us,
            content_type=content_type,
            extensions=stamp.extensions,
        )
        topic = self._topics.media(modality)
        sent: Awaitable[Any] = await self._producer.send(topic, body, key=session.encode(), headers=headers)
        return sent

    def _source_name(self, modality: str) -> str:
        return cloudevents.device_source(self._device, modality)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function in the source's one thread, so that a device is never read and closed at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
