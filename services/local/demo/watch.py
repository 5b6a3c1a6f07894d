"""Watch the output topics as any consumer could."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.contract import canonical, event
from services.contract.event import Event
from services.contract.topics import Topics
from services.kafka.follower import TopicFollower
from services.kafka.skipped_records import SkippedRecords


@dataclass(slots=True)
class ObservedOutputs:
    """First and final predictions by (session, window start), and events in order; times in ms of the broker."""

    first_ms: dict[tuple[str, int], int] = field(default_factory=dict)
    final_ms: dict[tuple[str, int], int] = field(default_factory=dict)
    final_windows: set[tuple[str, int]] = field(default_factory=set)
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[tuple[int, Event]] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """True if every final window has its final prediction."""
        return self.final_windows <= self.final_ms.keys()


class OutputWatcher:
    """Reads the windows, predictions and events of some sessions."""

    def __init__(self, follower: TopicFollower, topics: Topics, includes_session: Callable[[str], bool]) -> None:
        self.outputs, self._skipped = ObservedOutputs(), SkippedRecords("demo")
        self._follower, self._topics, self._includes_session = follower, topics, includes_session

    async def poll(self, timeout_ms: int = 100) -> list[tuple[int, Event]]:
        """Read what has arrived; return the new events."""
        before = len(self.outputs.events)
        for tp, records in (await self._follower.poll(timeout_ms)).items():
            for record in records:
                with self._skipped.guard(record):
                    key, value = record.key, record.value
                    if key is not None and value is not None and self._includes_session(key.decode()):
                        self._add(tp.topic, record.timestamp, value)
        return self.outputs.events[before:]

    def _add(self, topic: str, at_ms: int, value: bytes) -> None:
        outputs = self.outputs
        if topic == self._topics.events:
            outputs.events.append((at_ms, event.decode(value)))
            return
        record = canonical.loads_object(value)
        if topic == self._topics.windows:
            if record["final"]:
                outputs.final_windows.add((record["session"], record["start_us"]))
            return
        key = record["session"], record["window"]["start"]
        outputs.first_ms.setdefault(key, at_ms)
        if record["final"]:
            outputs.final_ms.setdefault(key, at_ms)
        kind = "final" if record["final"] else "first"
        outputs.latest.setdefault(record["session"], {})[kind] = (key[1], record["label"], record["confidence"])
