"""The devices of the settings: session, modality and clock correction by source."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from services.contract import timestamps
from services.contract.alignment_config import device_of
from services.contract.source_stats import PERIOD_US, ClockOffset
from services.runtime.settings import AUTO, DeviceSettings

STEP_US = 50_000
# The first record takes longest, because connections are opened for it.
MEASURED_MIN = 3


class DeviceClock:
    """The correction of a device's clock, estimated from acknowledgements.

    `offset_us` is added to the device's own times. It starts at 0 and follows the `ClockOffset` of the uncorrected times
    in steps of at least STEP_US.
    """

    def __init__(self) -> None:
        self.offset_us = 0
        self._measured, self._estimate = 0, ClockOffset()

    def observe(self, recorded_us: int, duration_us: int, appended_us: int) -> int | None:
        """Take the append time of a record with the device's own time; return the new offset if it changes."""
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
    """The event time of a record, and the device's own time if that was corrected."""

    device: str | None
    t_us: int
    recorded_us: int | None = None

    @property
    def extensions(self) -> list[tuple[str, str]]:
        """The headers that record the correction."""
        return [] if self.recorded_us is None else [(RECORDED, timestamps.format_us(self.recorded_us))]


class DeviceDirectory:
    """The devices by `ce_source`; a name without `/` covers all streams `/devices/<name>/…`, which share a clock."""

    def __init__(self, known: Mapping[str, DeviceSettings]) -> None:
        self._known = known
        self._clocks = {name: DeviceClock() for name, device in known.items() if device.clock_offset_ms == AUTO}

    def settings_of(self, source: str) -> DeviceSettings | None:
        """Return the settings of a source, None if it has none."""
        name = self.name_of(source)
        return None if name is None else self._known[name]

    def stamp(self, source: str, t_us: int) -> EventTimestamp:
        """Return the event time of a record; `t_us` is its time by the device's own clock."""
        name = self.name_of(source)
        device = None if name is None else self._known[name]
        if name is None or device is None or device.clock_offset_ms == 0:
            return EventTimestamp(name, t_us)
        clock = self._clocks.get(name)
        offset_us = clock.offset_us if clock is not None else int(device.clock_offset_ms) * 1000
        return EventTimestamp(name, t_us + offset_us, t_us)

    def acknowledged(self, stamp: EventTimestamp, duration_us: int, appended_ms: int | None) -> None:
        """Take the append time of a record that the broker has acknowledged, to measure the device's clock."""
        clock = self._clocks.get(stamp.device or "")
        if clock is None or stamp.recorded_us is None or appended_ms is None:
            return
        before_us = clock.offset_us
        after_us = clock.observe(stamp.recorded_us, duration_us, appended_ms * 1000)
        if after_us is not None:
            _log.warning(
                "The correction of a device's clock changes.",
                extra={"device": stamp.device, "before_ms": before_us // 1000, "after_ms": after_us // 1000},
            )

    def name_of(self, source: str) -> str | None:
        """Return the name of the settings that cover a source, None if there are none."""
        return device_of(source, self._known)
