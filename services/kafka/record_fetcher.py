"""Fetch records at offsets of many partitions at once, with one request to each broker."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.errors import KafkaError, KafkaTimeoutError, NoError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest

from services.contract.kafka_record import ConsumedRecord
from services.kafka.batch_decoding import FetchedBatches, FetchedRecords
from services.runtime.metric_definitions import FETCHES

# Of all partitions together: what a response holds is decoded in one go.
RESPONSE_BYTES_MAX = 4 * 1024 * 1024
# As long as aiokafka asks for the offsets of a partition without a leader.
PROGRESS_WITHIN_S = 40.0
AGAIN_S = 0.1
LOG_END = 1 << 62


class FetchedPart(NamedTuple):
    """The records of one partition from the requested offset up to `next_offset`; LOG_END if there are none after them."""

    records: list[ConsumedRecord]
    next_offset: int


class RecordFetcher:
    """Fetches records at given offsets, through the connections of a consumer without assignment.

    The consumer itself drops what it has fetched at each new assignment or seek, and reads on when that is not needed.
    Records of aborted transactions are returned as well: callers know which offsets they want.
    """

    def __init__(self, reader: AIOKafkaConsumer) -> None:
        self._reader, self._client = reader, reader._client

    async def fetch(self, offsets: Mapping[TopicPartition, int], bytes_max: int) -> dict[TopicPartition, FetchedPart]:
        """Return the next records of at least one of the partitions, up to about `bytes_max` of each.

        Partitions that come first are served first where a response has no room for all.

        Raises:
            KafkaError: No partition could be read within PROGRESS_WITHIN_S, or the broker refuses.
        """
        deadline_s = time.monotonic() + PROGRESS_WITHIN_S
        while True:
            parts = await self._fetch_once(offsets, bytes_max)
            if parts:
                return parts
            if time.monotonic() > deadline_s:
                raise KafkaTimeoutError(f"no records of {', '.join(sorted({tp.topic for tp in offsets}))}")
            await self._client.force_metadata_update()
            await asyncio.sleep(AGAIN_S)

    async def _fetch_once(
        self, offsets: Mapping[TopicPartition, int], bytes_max: int
    ) -> dict[TopicPartition, FetchedPart]:
        by_broker: dict[int, dict[str, list[tuple[int, int, int]]]] = defaultdict(lambda: defaultdict(list))
        for tp, offset in offsets.items():
            broker = self._client.cluster.leader_for_partition(tp)
            if broker is None or broker == -1:
                self._client.add_topic(tp.topic)
            else:
                by_broker[broker][tp.topic].append((tp.partition, offset, bytes_max))
        parts: dict[TopicPartition, FetchedPart] = {}
        out_of_range: list[TopicPartition] = []
        for response in await asyncio.gather(*(self._send(broker, logs) for broker, logs in by_broker.items())):
            for topic, partitions in response:
                for number, code, highwater, *_, data in partitions:
                    tp, error = TopicPartition(topic, number), for_code(code)
                    if error is OffsetOutOfRangeError:
                        out_of_range.append(tp)
                    elif error is not NoError:
                        if not error.retriable:
                            raise error(tp)
                    elif highwater <= offsets[tp]:
                        parts[tp] = FetchedPart([], LOG_END)
                    else:
                        part = _decode(tp, offsets[tp], data)
                        if part.next_offset > offsets[tp]:
                            parts[tp] = part
        if out_of_range:
            oldest = await self._reader.beginning_offsets(out_of_range)
            for tp in out_of_range:
                parts[tp] = FetchedPart([], oldest[tp] if oldest[tp] > offsets[tp] else LOG_END)
        return parts

    async def _send(self, broker: int, logs: Mapping[str, list[tuple[int, int, int]]]) -> list[Any]:
        """Return the topics of a broker's response, none if it does not answer. Raises KafkaError."""
        FETCHES.inc()
        request = FetchRequest(0, 0, RESPONSE_BYTES_MAX, READ_UNCOMMITTED, list(logs.items()))
        try:
            response = await self._client.send(broker, request)
        except KafkaError as error:
            if not error.retriable:
                raise
            return []
        return list(response.topics)


def _decode(tp: TopicPartition, offset: int, data: bytes | None) -> FetchedPart:
    """Decode what a fetch brought of one partition; nothing, if the response had no room for it."""
    batches = FetchedBatches(data or b"")
    records = FetchedRecords(tp, batches, None, offset, None, None, True, READ_UNCOMMITTED)
    return FetchedPart(list(records), records.next_fetch_offset)
