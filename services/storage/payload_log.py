"""Payloads from the log itself: what Redis no longer has is read at (partition, offset)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from services.contract import cloudevents
from services.contract.cloudevents import Envelope
from services.contract.topics import Topics
from services.kafka.log_reader import read_range
from services.storage.payload_cache import Payload, PayloadRequest

# Records closer than this are read in one go: a seek costs more than the records between.
GAP_RECORDS_MAX = 200


class PayloadLog:
    """Reads single records of the media topics; the consumer must have no group and auto_offset_reset none."""

    def __init__(self, reader: AIOKafkaConsumer, topics: Topics) -> None:
        self._reader, self._topics = reader, topics

    async def get(self, wanted: Mapping[int, PayloadRequest]) -> dict[int, Payload]:
        """The payloads found, by the caller's place; what retention has deleted, or is other bytes, is missing."""
        by_log: dict[TopicPartition, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, item in wanted.items():
            by_log[TopicPartition(self._topics.media(item.modality), item.partition)][item.offset].append(place)
        found: dict[int, Payload] = {}
        for tp, places in by_log.items():
            for begin, end in _stretches(sorted(places)):
                try:
                    async for record in read_range(self._reader, tp, begin, end):
                        for place in places.get(record.offset, ()):
                            if record.key != wanted[place].session.encode():
                                continue  # whoever asks for one session gets nothing of another
                            payload = _payload(record, wanted[place].sha256)
                            if payload is not None:
                                found[place] = payload
                except OffsetOutOfRangeError:
                    continue  # deleted between the question and the reading
        return found


def _payload(record: ConsumerRecord, sha256: str) -> Payload | None:
    read = cloudevents.parse_envelope(record.headers, record.value)
    if not isinstance(read, Envelope) or hashlib.sha256(read.payload).hexdigest() != sha256:
        return None
    return Payload(read.get("content-type"), read.payload, record.timestamp * 1000)


def _stretches(offsets: list[int]) -> list[tuple[int, int]]:
    """Ranges [begin, end) that cover the offsets (rising)."""
    out: list[tuple[int, int]] = []
    for offset in offsets:
        if out and offset - out[-1][1] <= GAP_RECORDS_MAX:
            out[-1] = (out[-1][0], offset + 1)
        else:
            out.append((offset, offset + 1))
    return out
