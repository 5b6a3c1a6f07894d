"""A producer of a service that waits for the broker to be there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.runtime import kafka
from services.runtime.health import Progress

AGAIN_S = 0.5
_log = logging.getLogger(__name__)


@asynccontextmanager
async def producer(broker: kafka.Where, progress: Progress) -> AsyncIterator[AIOKafkaProducer]:
    """The producer once the broker is there; until then the service is not ready, and says why."""
    while True:
        client = kafka.make_producer(broker)
        try:
            await client.start()
            break
        except KafkaError as error:
            await client.stop()
            progress.not_ready["broker"] = "the broker cannot be reached"
            progress.beat()
            _log.warning("the broker cannot be reached: waiting for it", extra={"why": str(error)})
            await asyncio.sleep(AGAIN_S)
    progress.not_ready.pop("broker", None)
    try:
        yield client
    finally:
        await client.stop()
