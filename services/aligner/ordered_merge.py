"""Reading in step: the logs of one partition number are handed on together, none far ahead of the slowest. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from services.contract.record import LogRecord


class LogMerger:
    """Queues of the logs of one partition number, by modality.

    A log that is not at its end holds the others back to `skew_ms` beyond its next record, so that a restart over a
    long backlog needs memory for the skew and not for the backlog.
    """

    def __init__(self, positions: Mapping[str, int], skew_ms: int, records_max: int, bytes_max: int) -> None:
        self._skew_ms, self._records_max, self._bytes_max = skew_ms, records_max, bytes_max
        self._next = dict(positions)
        self._queues: dict[str, deque[LogRecord]] = {modality: deque() for modality in positions}
        self._bytes = dict.fromkeys(self._queues, 0)

    def add(self, modality: str, records: Sequence[LogRecord]) -> None:
        """Queue fetched records (at least one), in the order of their log."""
        self._queues[modality].extend(records)
        self._next[modality] = records[-1].offset + 1
        self._bytes[modality] += sum(len(record.value or b"") for record in records)

    def release(self, ends: Mapping[str, int | None]) -> list[tuple[str, LogRecord]]:
        """Take what may be handed on; ends: the newest known end offset of each log, None where none is known yet."""
        for modality, queue in self._queues.items():
            end = ends[modality]
            if not queue and (end is None or self._next[modality] < end):
                return []  # the next record of that log is on its way: it may be older than everything here
        heads = [queue[0].timestamp for queue in self._queues.values() if queue]
        return self._merged(min(heads, default=0) + self._skew_ms)

    def has_more(self, ends: Mapping[str, int | None]) -> bool:
        """True while a log is known to hold more than was handed on; ends: as for `release`."""
        return any(queue or self._next[m] < (ends[m] or 0) for m, queue in self._queues.items())

    def _merged(self, limit_ms: int) -> list[tuple[str, LogRecord]]:
        """Take what was appended up to limit_ms, always the oldest head, of equally old ones the first log's.

        A merge and not a sort: each log keeps its own order even where the broker's clock went back.
        """
        out: list[tuple[str, LogRecord]] = []
        while True:
            heads = [
                (queue[0].timestamp, place, modality)
                for place, (modality, queue) in enumerate(self._queues.items())
                if queue and queue[0].timestamp <= limit_ms
            ]
            if not heads:
                return out
            heads.sort()
            (_, place, modality), *others = heads
            # As long as it stays the oldest: up to the next head, and at the very time of that only as the earlier log.
            until_ms = limit_ms if not others else others[0][0] - (place > others[0][1])
            self._take(modality, until_ms, out)

    def _take(self, modality: str, limit_ms: int, out: list[tuple[str, LogRecord]]) -> None:
        """Take from the head of one log what was appended up to limit_ms."""
        queue, size = self._queues[modality], 0
        while queue and queue[0].timestamp <= limit_ms:
            record = queue.popleft()
            size += len(record.value or b"")
            out.append((modality, record))
        self._bytes[modality] -= size

    def paused_modalities(self) -> set[str]:
        """The logs to pause, their queues over a limit; never the one with the oldest head, or nothing would move."""
        heads = {modality: queue[0].timestamp for modality, queue in self._queues.items() if queue}
        slowest = min(heads, key=lambda modality: heads[modality], default=None)
        return {
            modality
            for modality in heads
            if modality != slowest
            and (len(self._queues[modality]) > self._records_max or self._bytes[modality] > self._bytes_max)
        }
