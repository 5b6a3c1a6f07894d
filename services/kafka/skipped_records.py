"""Isolation of records: what goes wrong about one record concerns that record alone, and the work goes on.

Work with a producer publishes a dead letter (services/kafka/dead_letters.py). Readers without one count the record
in `braid_records_skipped_total` and skip it. Errors of the broker, of the network and of the disk are no record's fault and are raised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from aiokafka.errors import KafkaError

from services.contract.dead_letter import UnreadableRecord, rejected_for
from services.contract.kafka_record import ConsumedRecord
from services.contract.user_errors import BraidError
from services.runtime.metric_definitions import RECORDS_SKIPPED
from services.runtime.monotonic_clock import monotonic_us

LOG_EVERY_US = 10_000_000
R = TypeVar("R", bound=ConsumedRecord)
_log = logging.getLogger(__name__)


def is_about_record(error: BaseException) -> bool:
    """Return whether an error while a record is processed is the record's fault; it may then be skipped."""
    return isinstance(error, Exception) and not isinstance(error, (KafkaError, OSError, MemoryError, BraidError))


class SkippedRecords:
    """Records that a reader skips: counted, and logged at most once in LOG_EVERY_US for each topic.

    As a context it guards the processing of one record:

        for record in records:
            with skipped.guard(record):
                ...

    Args:
        reader: Who skips them, for the log.
        on_skip: Called with the topic of each.
    """

    def __init__(self, reader: str, on_skip: Callable[[str], object] = lambda topic: None) -> None:
        self.count = 0
        self._reader, self._on_skip = reader, on_skip
        self._record: ConsumedRecord | None = None
        self._logged_us: dict[str, int] = {}
        self._unlogged: dict[str, int] = {}

    def skip(self, record: ConsumedRecord, reason: str, detail: str) -> None:
        """Count a record that is skipped, and log its position and the reason, never its content."""
        self.count += 1
        RECORDS_SKIPPED.labels(record.topic, reason).inc()
        self._on_skip(record.topic)
        now_us, topic = monotonic_us(), record.topic
        if now_us - self._logged_us.get(topic, -LOG_EVERY_US) < LOG_EVERY_US:
            self._unlogged[topic] = self._unlogged.get(topic, 0) + 1
            return
        self._logged_us[topic] = now_us
        _log.warning(
            "a record is skipped",
            extra={
                "reader": self._reader,
                "topic": topic,
                "partition": record.partition,
                "offset": record.offset,
                "reason": reason,
                "detail": detail,
                "not_logged": self._unlogged.pop(topic, 0),
            },
        )

    def readable(self, records: Iterable[R]) -> Iterator[R]:
        """Yield the records that could be read from their log; skip the others."""
        for record in records:
            if isinstance(record, UnreadableRecord):
                self.skip(record, record.rejected.reason.value, record.rejected.detail)
            else:
                yield record

    def guard(self, record: ConsumedRecord) -> SkippedRecords:
        """Return a context in which an error that is the record's fault makes it skipped."""
        self._record = record
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if error is None or self._record is None or not is_about_record(error):
            return False
        rejected = rejected_for(error) if isinstance(error, Exception) else None
        if rejected is not None:
            self.skip(self._record, rejected.reason.value, rejected.detail)
        return True
