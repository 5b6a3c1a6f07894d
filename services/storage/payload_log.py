"""Payloads from the media topics, read by partition and offset when Redis no longer has them."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import cloudevents
from services.contract.cloudevents import Envelope
from services.contract.kafka_record import ConsumedRecord
from services.contract.topics import Topics
from services.kafka.record_fetcher import RecordFetcher
from services.kafka.skipped_records import SkippedRecords
from services.runtime.monotonic_clock import monotonic_us
from services.storage.byte_limited_cache import ByteLimitedCache
from services.storage.payload_cache import Payload, PayloadRequest

# A window needs a few records here and there; what follows them is likely to be needed by the windows after it.
READ_BYTES = 64 * 1024
CACHE_BYTES_MAX = 64 * 1024 * 1024
# What a record counts in the cache beside its key and value, and each of its headers.
RECORD_BYTES, HEADER_BYTES = 500, 200
# The cache is emptied when no payload came from the log for so long: Redis has them again.
KEPT_US = 60_000_000
_skipped = SkippedRecords("payloads")


class PayloadLog:
    """Reads payloads from the media topics: all that one batch needs, from all partitions at once.

    Windows overlap, and those of other sessions have their records between: what was read is kept, up to
    CACHE_BYTES_MAX.

    Args:
        reader: A consumer without a group, which is not assigned anything.
        topics: The names of the topics.
    """

    def __init__(self, reader: AIOKafkaConsumer, topics: Topics) -> None:
        self._fetcher, self._topics = RecordFetcher(reader), topics
        self._records: ByteLimitedCache[ConsumedRecord] = ByteLimitedCache(CACHE_BYTES_MAX)
        self._used_us = 0

    async def get(self, requests: Mapping[int, PayloadRequest]) -> dict[int, Payload]:
        """Return payloads by the keys of the requests, without those that are deleted or have another sha256.

        Raises:
            KafkaError: No partition could be read for a while.
        """
        if not requests:
            if self._records.bytes and monotonic_us() - self._used_us > KEPT_US:
                self._records.clear()
            return {}
        self._used_us = monotonic_us()
        payloads: dict[int, Payload] = {}
        places: dict[TopicPartition, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, request in requests.items():
            tp = TopicPartition(self._topics.media(request.modality), request.partition)
            record = self._records.get((*tp, request.offset))
            payload = None if record is None else _payload(record, request)
            if payload is None:
                places[tp][request.offset].append(place)
            else:
                payloads[place] = payload
        unread = {tp: deque(sorted(by_offset)) for tp, by_offset in places.items()}
        while unread:
            parts = await self._fetcher.fetch({tp: offsets[0] for tp, offsets in unread.items()}, READ_BYTES)
            for tp, part in parts.items():
                for record in _skipped.readable(part.records):
                    self._records.put((*tp, record.offset), record, _size(record))
                    for place in places[tp].get(record.offset, ()):
                        payload = _payload(record, requests[place])
                        if payload is not None:
                            payloads[place] = payload
                # To the end: those that the response had no room for come first in the next one.
                offsets = unread.pop(tp)
                while offsets and offsets[0] < part.next_offset:
                    offsets.popleft()
                if offsets:
                    unread[tp] = offsets
        return payloads


def _payload(record: ConsumedRecord, request: PayloadRequest) -> Payload | None:
    """Return the payload of a record, None if it is not the requested one."""
    if record.key != request.session.encode():
        return None  # a request for one session must not return payloads of another
    with _skipped.guard(record):
        envelope = cloudevents.parse_envelope(record.headers, record.value)
        if isinstance(envelope, Envelope) and hashlib.sha256(envelope.payload).hexdigest() == request.sha256:
            return Payload(envelope.get("content-type"), envelope.payload, record.timestamp * 1000)
    return None


def _size(record: ConsumedRecord) -> int:
    return len(record.key or b"") + len(record.value or b"") + RECORD_BYTES + HEADER_BYTES * len(record.headers)
