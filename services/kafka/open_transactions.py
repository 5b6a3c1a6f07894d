"""How long open transactions hold back the records behind them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from aiokafka import TopicPartition

from services.kafka import clients
from services.kafka.clients import BrokerAddress
from services.kafka.start_offsets import first_append_ms

# Transactions of stream processors take a second or so; a broker aborts one after `transaction.timeout.ms`.
SAY_AFTER_MS = 10_000
_log = logging.getLogger(__name__)


class OpenTransactions:
    """The logs whose readable part ends before their end, and since when that part has not grown.

    A consumer of committed records does not see what is behind the beginning of an open transaction, so no batch shows
    how old these records become.
    """

    def __init__(self) -> None:
        self._held: dict[TopicPartition, tuple[int, int]] = {}
        self._said: set[TopicPartition] = set()

    def observe(self, tp: TopicPartition, readable_end: int | None, end: int | None, now_ms: int) -> None:
        """Note the ends of a log: of its readable part, and of all of it; None if unknown."""
        if readable_end is None or end is None or readable_end >= end:
            self._held.pop(tp, None)
            self._said.discard(tp)
            return
        held_end, since_ms = self._held.get(tp, (readable_end, now_ms))
        if held_end != readable_end:
            since_ms = now_ms
        self._held[tp] = readable_end, since_ms
        if now_ms - since_ms >= SAY_AFTER_MS and tp not in self._said:
            self._said.add(tp)
            _log.warning(
                "an open transaction holds records back",
                extra={
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "since": readable_end,
                    "records": end - readable_end,
                },
            )

    def oldest_ms(self) -> Iterator[tuple[str, int]]:
        """Yield topic and time from which on the records of a log have been held back."""
        for tp, (_, since_ms) in self._held.items():
            yield tp.topic, since_ms


async def find_open_transactions(where: BrokerAddress, logs: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Return by log the append time (ms) of the first record of its oldest open transaction. Raises KafkaError."""
    begun_ms: dict[TopicPartition, int] = {}
    async with (
        clients.reader(where, isolation_level="read_committed") as committed,
        clients.reader(where, **clients.EVERY_RECORD) as every,
    ):
        stable = await committed.end_offsets(list(logs))
        ends = await every.end_offsets(list(logs))
        for tp in logs:
            if stable[tp] < ends[tp] and (at_ms := await first_append_ms(every, tp, stable[tp])) is not None:
                begun_ms[tp] = at_ms
    return begun_ms
