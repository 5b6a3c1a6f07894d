"""Payloads from the media topics, read by partition and offset when Redis no longer has them."""

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
from services.kafka.skipped_records import SkippedRecords
from services.storage.payload_cache import Payload, PayloadRequest

# Records closer than this are read in one pass: a seek costs more than the records between.
GAP_RECORDS_MAX = 200
_skipped = SkippedRecords("payloads")


class PayloadLog:
    """Reads single records of the media topics; the consumer must have no group and auto_offset_reset none."""

    def __init__(self, reader: AIOKafkaConsumer, topics: Topics) -> None:
        self._reader, self._topics = reader, topics

    async def get(self, requests: Mapping[int, PayloadRequest]) -> dict[int, Payload]:
        """Return payloads by the keys of the requests, without those that are deleted or have another sha256."""
        by_log: dict[TopicPartition, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, request in requests.items():
            tp = TopicPartition(self._topics.media(request.modality), request.partition)
            by_log[tp][request.offset].append(place)
        payloads: dict[int, Payload] = {}
        for tp, places in by_log.items():
            for begin, end in _ranges(sorted(places)):
                try:
                    async for record in read_range(self._reader, tp, begin, end):
                        for place in places.get(record.offset, ()):
                            if record.key != requests[place].session.encode():
                                continue  # a request for one session must not return payloads of another
                            with _skipped.guard(record):
                                payload = _payload(record, requests[place].sha256)
                                if payload is not None:
                                    payloads[place] = payload
                except OffsetOutOfRangeError:
                    continue  # deleted before it was read
        return payloads


def _payload(record: ConsumerRecord, sha256: str) -> Payload | None:
    envelope = cloudevents.parse_envelope(record.headers, record.value)
    if not isinstance(envelope, Envelope) or hashlib.sha256(envelope.payload).hexdigest() != sha256:
        return None
    return Payload(envelope.get("content-type"), envelope.payload, record.timestamp * 1000)


def _ranges(offsets: list[int]) -> list[tuple[int, int]]:
    """Return ranges [begin, end) that cover the offsets, which are in rising order."""
    ranges: list[tuple[int, int]] = []
    for offset in offsets:
        if ranges and offset - ranges[-1][1] <= GAP_RECORDS_MAX:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return ranges
