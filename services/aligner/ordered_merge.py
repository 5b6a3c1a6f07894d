"""Merges the logs of one partition number by append time, so that none is processed far ahead of the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from services.contract.kafka_record import LogRecord


class LogMerger:
    """Queues of the logs of one partition number, by modality.

    A log that is not read to its end holds the others back to `skew_ms` after its next record. A restart over a long
    backlog then needs memory for the skew and not for the backlog.

    Args:
        positions: The position of each log (see `set_positions`).
        skew_ms: How far a log may be ahead, in append time.
        records_max: More queued records pause a log.
        bytes_max: More queued bytes pause a log.
    """

    def __init__(self, positions: Mapping[str, int], skew_ms: int, records_max: int, bytes_max: int) -> None:
        self._skew_ms, self._records_max, self._bytes_max = skew_ms, records_max, bytes_max
        self._positions = dict(positions)
        self._queues: dict[str, deque[LogRecord]] = {modality: deque() for modality in positions}
        self._bytes = dict.fromkeys(self._queues, 0)

    def add(self, modality: str, records: Sequence[LogRecord]) -> None:
        """Queue fetched records (at least one) in the order of their log."""
        self._queues[modality].extend(records)
        self._bytes[modality] += sum(len(record.value or b"") for record in records)

    def set_positions(self, positions: Mapping[str, int]) -> None:
        """Set the position of the consumer in each log: the offset that it reads next.

        It is not the last record's offset + 1: transaction markers and deleted records take offsets too.
        """
        self._positions.update(positions)

    def next_offsets(self) -> dict[str, int]:
        """Return by modality the offset below which every record has been released."""
        return {m: queue[0].offset if queue else self._positions[m] for m, queue in self._queues.items()}

    def release(self, ends: Mapping[str, int | None]) -> list[tuple[str, LogRecord]]:
        """Remove and return the records that may be processed; `ends` are the end offsets, None if unknown."""
        for modality, queue in self._queues.items():
            end = ends[modality]
            if not queue and (end is None or self._positions[modality] < end):
                return []  # The next record of that log is being fetched; it may be older than all that is queued.
        heads = [queue[0].timestamp for queue in self._queues.values() if queue]
        return self._merged(min(heads, default=0) + self._skew_ms)

    def has_more(self, ends: Mapping[str, int | None]) -> bool:
        """Return whether a log is known to hold records that are not released yet."""
        return any(queue or self._positions[m] < (ends[m] or 0) for m, queue in self._queues.items())

    def _merged(self, limit_ms: int) -> list[tuple[str, LogRecord]]:
        """Remove what was appended up to `limit_ms`, always the oldest head; of equal ones, that of the first log.

        This is a merge and not a sort: each log keeps its order even if the broker's clock went back.
        """
        merged: list[tuple[str, LogRecord]] = []
        while True:
            heads = [
                (queue[0].timestamp, place, modality)
                for place, (modality, queue) in enumerate(self._queues.items())
                if queue and queue[0].timestamp <= limit_ms
            ]
            if not heads:
                return merged
            heads.sort()
            (_, place, modality), *others = heads
            # Take from this log as long as its head is the oldest; at equal times only if it comes before the other log.
            until_ms = limit_ms if not others else others[0][0] - (place > others[0][1])
            self._pop_until(modality, until_ms, merged)

    def _pop_until(self, modality: str, limit_ms: int, merged: list[tuple[str, LogRecord]]) -> None:
        queue, size = self._queues[modality], 0
        while queue and queue[0].timestamp <= limit_ms:
            record = queue.popleft()
            size += len(record.value or b"")
            merged.append((modality, record))
        self._bytes[modality] -= size

    def paused_modalities(self) -> set[str]:
        """Return the logs whose queues are over a limit; never the one with the oldest head, or nothing would move."""
        heads = {modality: queue[0].timestamp for modality, queue in self._queues.items() if queue}
        slowest = min(heads, key=lambda modality: heads[modality], default=None)
        return {
            modality
            for modality in heads
            if modality != slowest
            and (len(self._queues[modality]) > self._records_max or self._bytes[modality] > self._bytes_max)
        }
