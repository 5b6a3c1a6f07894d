"""Publish dead letters so that no record can prevent its own: cut to limits, and by position alone if even that fails."""

from __future__ import annotations

import logging

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidMessageError, MessageSizeTooLargeError, RecordListTooLargeError, UnknownError

from services.contract.dead_letter import DeadLetter
from services.contract.record import RecordPosition

# The client knows INVALID_RECORD only as an unknown error.
REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidMessageError, UnknownError)
REFUSED_MAX = 10_000
_refused: dict[RecordPosition, None] = {}
_log = logging.getLogger(__name__)


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
