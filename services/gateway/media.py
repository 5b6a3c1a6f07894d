"""The bytes of members for people to see and hear: from Redis, else from the log; only as types that run nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from services.contract import media
from services.contract.media import as_wav
from services.contract.topics import Topics
from services.runtime.metrics import GatewayMetrics
from services.storage.payload_cache import Payload, RedisWindow, Wanted
from services.storage.payload_log import LogReader

TEXTS = ("text/plain", "application/json")
LOG_WITHIN_S = 10
WAITING_MAX = 32


class Busy(Exception):
    """Too many ask for what only the log has."""


class MediaReader:
    """Fetches single payloads; the log is read by one at a time."""

    def __init__(
        self,
        redis: RedisWindow,
        make_reader: Callable[[], AIOKafkaConsumer],
        topics: Topics,
        metrics: GatewayMetrics,
    ) -> None:
        self._redis, self._make_reader, self._topics, self._metrics = redis, make_reader, topics, metrics
        self._reader: AIOKafkaConsumer | None = None
        self._one = asyncio.Lock()
        self._waiting = 0

    async def get(self, wanted: Wanted) -> Payload | None:
        """The payload, or None where it is gone. Raises Busy, KafkaError, TimeoutError."""
        (found,) = await self._redis.get([wanted])
        if found is not None and hashlib.sha256(found.body).hexdigest() == wanted.sha256:
            self._metrics.media_served.labels("redis").inc()
            return found
        if self._waiting >= WAITING_MAX:
            raise Busy
        self._waiting += 1
        try:
            async with self._one:
                try:
                    found = await asyncio.wait_for(self._from_log(wanted), LOG_WITHIN_S)
                except (KafkaError, TimeoutError):
                    # What was broken off in the middle is not used again.
                    await self._stop_reader()
                    raise
        finally:
            self._waiting -= 1
        self._metrics.media_served.labels("log" if found else "nowhere").inc()
        return found

    async def close(self) -> None:
        await self._redis.close()
        await self._stop_reader()

    async def _stop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()

    async def _from_log(self, wanted: Wanted) -> Payload | None:
        if self._reader is None:
            reader = self._make_reader()
            try:
                await reader.start()
            except KafkaError:
                await reader.stop()
                raise
            self._reader = reader
        return (await LogReader(self._reader, self._topics).get({0: wanted})).get(0)


def browser_safe(modality: str, payload: Payload) -> Payload | None:
    """A payload under a type that a browser only shows or plays, whatever its sender called it; None for any other."""
    kind, _ = media.parameters(payload.content_type)
    if modality == "video" and kind in media.IMAGE_TYPES and media.size(kind, payload.body):
        return Payload(kind, payload.body)
    if modality == "audio" and kind in media.AUDIO_TYPES:
        if kind != media.PCM:
            return Payload(kind, payload.body)
        made = as_wav(payload.content_type, payload.body)
        return None if made is None else Payload(media.WAV, made)
    if modality == "text" and kind in TEXTS:
        return Payload("text/plain; charset=utf-8", payload.body)
    return None
