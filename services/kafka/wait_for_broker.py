"""A service waits for the broker to be there, unless a person must change something first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiokafka import AIOKafkaProducer, errors
from aiokafka.errors import KafkaError

from services.kafka import clients
from services.runtime.health import Progress

AGAIN_S = 0.5
T = TypeVar("T")
_log = logging.getLogger(__name__)

# Errors that neither time nor a new connection mends: rights, settings or a record must change.
_LASTING = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.ClusterAuthorizationFailedError,
    errors.CorruptRecordException,
    errors.GroupAuthorizationFailedError,
    errors.IllegalArgumentError,
    errors.IncompatibleBrokerVersion,
    errors.InconsistentGroupProtocolError,
    errors.InvalidGroupIdError,
    errors.InvalidRequiredAcksError,
    errors.InvalidSessionTimeoutError,
    errors.InvalidTopicError,
    errors.KafkaConfigurationError,
    errors.MessageSizeTooLargeError,
    errors.PolicyViolationError,
    errors.RecordListTooLargeError,
    errors.RecordTooLargeError,
    errors.SaslAuthenticationFailed,
    errors.TopicAuthorizationFailedError,
    errors.UnrecognizedBrokerVersion,
    errors.UnsupportedCodecError,
    errors.UnsupportedSaslMechanismError,
    errors.UnsupportedVersionError,
)


def is_recoverable(error: KafkaError) -> bool:
    """Return whether a new connection that reads again from the committed offsets can help, now or later."""
    return not isinstance(error, _LASTING)


@asynccontextmanager
async def producer(
    broker: clients.BrokerAddress, partitions: int, progress: Progress
) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer of media once the broker is there; until then the service is not ready, and says why.

    It lives as long as the service, so it is not idempotent: it gives up after 20 s and then goes on with other records.
    A copy of a record with the same id is a duplicate to alignment.
    """

    async def start() -> AIOKafkaProducer:
        client = clients.make_producer(broker, idempotent=False, partitions=partitions)
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    client = await started(start, progress)
    try:
        yield client
    finally:
        await client.stop()


async def started(
    start: Callable[[], Awaitable[T]], progress: Progress, reason: str = "broker", *, raises_lasting: bool = False
) -> T:
    """Return what `start` returns once the broker is there; it is called again and again until then.

    Args:
        start: What needs the broker.
        progress: Readiness of the process.
        reason: What is not ready meanwhile, in /readyz.
        raises_lasting: Raise an error that time does not mend, instead of waiting for a person who mends it.
    """
    while True:
        try:
            result = await start()
            break
        except KafkaError as error:
            if raises_lasting and not is_recoverable(error):
                raise
            why = repr(error)
            progress.not_ready[reason] = f"Kafka cannot be read ({why}); `braid doctor` says what is wrong"
            # Waiting for the broker is what there is to do: the watchdog is for a loop that hangs.
            progress.beat()
            _log.warning("Kafka cannot be read: waiting for it", extra={"why": why})
            await asyncio.sleep(AGAIN_S)
    progress.not_ready.pop(reason, None)
    return result
