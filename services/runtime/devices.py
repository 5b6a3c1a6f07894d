"""How far a device's clock is off, learnt from when the broker took its records. Pure: every time is an argument.

The devices of an installation: every sender stamps its records by them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from services.contract import timestamps
from services.contract.source_stats import PERIOD_US, ClockOffset
from services.runtime.settings import AUTO, DeviceSettings

STEP_US = 50_000
# The first way to a broker is the longest: connections are made on it.
MEASURED_MIN = 3


class DeviceClock:
    """What is added to a device's own times; it starts at 0 and moves in steps of at least 50 ms.

    Measured is what the aligner measures, too: the smallest arrival (the broker's append time) minus the end of what
    was captured, of the last minute or so. That takes the shortest way for part of the clock's fault, as it must:
    nobody can tell them apart.
    """

    def __init__(self) -> None:
        self.offset_us = 0
        self._measured, self._estimate = 0, ClockOffset()

    def observe(self, recorded_us: int, duration_us: int, appended_us: int) -> int | None:
        """A record of the device was taken; recorded_us: its own time. The new offset where a step is due."""
        self._measured += 1
        self._estimate.observe(appended_us - recorded_us - duration_us, appended_us // PERIOD_US)
        if self._measured < MEASURED_MIN or abs(self._estimate.us - self.offset_us) < STEP_US:
            return None
        self.offset_us = self._estimate.us
        return self.offset_us


RECORDED = "ce_recordedtime"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventTimestamp:
    """The event time of one record, and the device's own where that was corrected (None: it was not)."""

    device: str | None
    t_us: int
    recorded_us: int | None = None

    @property
    def extensions(self) -> list[tuple[str, str]]:
        """What the envelope says of it."""
        return [] if self.recorded_us is None else [(RECORDED, timestamps.format_us(self.recorded_us))]


class DeviceDirectory:
    """By source as it stands in `ce_source`; a name without `/` means all streams `/devices/<name>/…`, one clock for them."""

    def __init__(self, known: Mapping[str, DeviceSettings]) -> None:
        self._known = known
        self._clocks = {name: DeviceClock() for name, device in known.items() if device.clock_offset_ms == AUTO}

    def settings_of(self, source: str) -> DeviceSettings | None:
        """What is set for a source, None where nothing is."""
        name = self.name_of(source)
        return None if name is None else self._known[name]

    def stamp(self, source: str, t_us: int) -> EventTimestamp:
        """The one stamp of a record: t_us is its time by the device's own clock."""
        name = self.name_of(source)
        device = None if name is None else self._known[name]
        if name is None or device is None or device.clock_offset_ms == 0:
            return EventTimestamp(name, t_us)
        clock = self._clocks.get(name)
        offset_us = clock.offset_us if clock is not None else int(device.clock_offset_ms) * 1000
        return EventTimestamp(name, t_us + offset_us, t_us)

    def acknowledged(self, stamp: EventTimestamp, duration_us: int, appended_ms: int | None) -> None:
        """The broker has acknowledged a record so stamped; appended_ms: its append time, as the acknowledgement says."""
        clock = self._clocks.get(stamp.device or "")
        if clock is None or stamp.recorded_us is None or appended_ms is None:
            return
        before_us = clock.offset_us
        after_us = clock.observe(stamp.recorded_us, duration_us, appended_ms * 1000)
        if after_us is not None:
            _log.warning(
                "a device's clock is corrected anew",
                extra={"device": stamp.device, "before_ms": before_us // 1000, "after_ms": after_us // 1000},
            )

    def name_of(self, source: str) -> str | None:
        """The key of the settings under which a source stands, None where none does."""
        if source in self._known:
            return source
        _, _, rest = source.partition("/devices/")
        name = rest.partition("/")[0]
        return name if name and name in self._known else None
