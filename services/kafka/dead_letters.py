"""Publish dead letters so that no record can prevent its own: cut to limits, and by position alone if even that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidMessageError, MessageSizeTooLargeError, RecordListTooLargeError, UnknownError

from services.contract.dead_letter import DeadLetter
from services.contract.kafka_record import RecordPosition
from services.kafka import clients

# The client knows INVALID_RECORD only as an unknown error.
REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidMessageError, UnknownError)
REFUSED_MAX = 10_000
_refused: dict[RecordPosition, None] = {}
_log = logging.getLogger(__name__)


async def publish_all(
    producer: AIOKafkaProducer, topic: str, number: int, letters: Sequence[tuple[bytes | None, DeadLetter]]
) -> None:
    """Publish the dead letters (key of the record, letter) of one partition number and wait for all acknowledgements.

    They fill whole batches: a device that is over its quota leads to thousands a second. Raises KafkaError as `publish`.
    """
    if len(letters) > 1 and not any(letter.position in _refused for _, letter in letters):
        try:
            await clients.send_all(producer, topic, number, [letter.encode(key) for key, letter in letters])
            return
        except REFUSALS as error:
            _log.warning(
                "a batch of dead letters is refused: they go out one by one", extra={"why": type(error).__name__}
            )
    await asyncio.gather(*[publish(producer, topic, number, key, letter) for key, letter in letters])


async def publish(producer: AIOKafkaProducer, topic: str, number: int, key: bytes | None, letter: DeadLetter) -> None:
    """Publish a dead letter and wait for its acknowledgement.

    Args:
        producer: An idempotent producer.
        topic: The dead-letter topic.
        number: The partition number of the rejected record.
        key: The key of the rejected record.
        letter: The dead letter.

    Raises:
        KafkaError: The broker fails, or refuses even a dead letter without anything of the record.
    """
    if letter.position not in _refused:
        key, value, headers = letter.encode(key)
        try:
            await (await producer.send(topic, value, key=key, partition=number, headers=headers))
            return
        except REFUSALS as error:
            _log.warning("a dead letter is refused and goes out by position alone", extra={"why": type(error).__name__})
            # A producer that was refused once has a gap in its sequence numbers: this may go out with the next one only.
            _refused[letter.position] = None
            while len(_refused) > REFUSED_MAX:
                del _refused[next(iter(_refused))]
    value, headers = letter.encode_by_position()
    await (await producer.send(topic, value, partition=number, headers=headers))
