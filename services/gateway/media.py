"""The bytes of members for the page, from Redis or else from the log, and only as types that a browser cannot run."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from services.contract import media_headers
from services.contract.topics import Topics
from services.contract.transcript import TEXT_TYPES
from services.runtime.metric_definitions import GatewayMetrics
from services.storage.payload_cache import Payload, PayloadCache, PayloadRequest
from services.storage.payload_log import PayloadLog

LOG_WITHIN_S = 10
WAITING_MAX = 32


class Busy(Exception):
    """Too many requests wait for the log."""


class MediaReader:
    """Reads single payloads; one request at a time reads the log."""

    def __init__(
        self,
        redis: PayloadCache,
        make_reader: Callable[[], AIOKafkaConsumer],
        topics: Topics,
        partition_count: int,
        metrics: GatewayMetrics,
    ) -> None:
        self._partition_count = partition_count
        self._redis, self._make_reader, self._topics, self._metrics = redis, make_reader, topics, metrics
        self._reader: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def get(self, wanted: PayloadRequest) -> Payload | None:
        """Return a payload, None if it is gone. Raises Busy, KafkaError, TimeoutError."""
        (payload,) = await self._redis.get([wanted])
        if payload is not None and hashlib.sha256(payload.body).hexdigest() == wanted.sha256:
            self._metrics.media_served.labels("redis").inc()
            return payload
        if wanted.partition >= self._partition_count:
            # The client would ask the broker for such a partition again and again until its time is over.
            return None
        if self._waiting >= WAITING_MAX:
            raise Busy
        self._waiting += 1
        try:
            async with self._lock:
                try:
                    payload = await asyncio.wait_for(self._from_log(wanted), LOG_WITHIN_S)
                except (KafkaError, TimeoutError):
                    # A reader that was interrupted within a fetch is not used again.
                    await self._stop_reader()
                    raise
        finally:
            self._waiting -= 1
        self._metrics.media_served.labels("log" if payload else "nowhere").inc()
        return payload

    async def close(self) -> None:
        """Close the connections to Redis and Kafka."""
        await self._redis.close()
        await self._stop_reader()

    async def _stop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()

    async def _from_log(self, wanted: PayloadRequest) -> Payload | None:
        if self._reader is None:
            reader = self._make_reader()
            try:
                await reader.start()
            except KafkaError:
                await reader.stop()
                raise
            self._reader = reader
        return (await PayloadLog(self._reader, self._topics).get({0: wanted})).get(0)


def browser_safe(modality: str, payload: Payload) -> Payload | None:
    """Return a payload under a type that a browser only shows or plays, None if it has no such type.

    The sender's content type is not trusted: an HTML page could be declared as text.
    """
    kind, _ = media_headers.parse_content_type(payload.content_type)
    if modality == "video" and kind in media_headers.IMAGE_TYPES and media_headers.image_size(kind, payload.body):
        return Payload(kind, payload.body)
    if modality == "audio" and kind in media_headers.AUDIO_TYPES:
        if kind != media_headers.PCM:
            return Payload(kind, payload.body)
        wav = media_headers.wav_from_pcm(payload.content_type, payload.body)
        return None if wav is None else Payload(media_headers.WAV, wav)
    if modality == "text" and kind in TEXT_TYPES:
        return Payload("text/plain; charset=utf-8", payload.body)
    return None
