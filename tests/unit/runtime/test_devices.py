"""The correction of a device's clock, and the devices of the settings."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.source_stats import PERIOD_US
from services.runtime.device_directory import STEP_US, DeviceClock, DeviceDirectory
from services.runtime.settings import DeviceSettings

SOURCE, START_US = "/devices/cam/front", 1_700_000_000_000_000


def offsets_after(clock: DeviceClock, behind_us: int, delays_us: list[int], start_us: int = START_US) -> list[int]:
    """Return the estimated offset after each record, one a second, of a clock that is behind by a given time."""
    offsets = []
    for n, delay_us in enumerate(delays_us):
        appended_us = start_us + n * 1_000_000
        clock.observe(appended_us - delay_us - behind_us, 0, appended_us)
        offsets.append(clock.offset_us)
    return offsets


def test_the_correction_starts_with_the_smallest_delay_of_three_records() -> None:
    assert offsets_after(DeviceClock(), 5_000_000, [400_000, 90_000, 20_000, 70_000]) == [0, 0, 5_020_000, 5_020_000]


def test_a_correct_clock_is_not_corrected() -> None:
    assert set(offsets_after(DeviceClock(), 0, [30_000, 4_000, 5_000, 49_000])) == {0}


def test_a_clock_that_is_reset_is_followed_at_once_ahead_and_after_a_minute_behind() -> None:
    clock = DeviceClock()
    offsets_after(clock, 5_000_000, [1_000] * 5)
    assert offsets_after(clock, -2_000_000, [1_000] * 2, START_US + 10_000_000)[-1] == -1_999_000
    later_us = START_US + 20_000_000
    assert offsets_after(clock, 3_000_000, [1_000] * 2, later_us)[-1] == -1_999_000, (
        "a long delay looks the same at first"
    )
    assert offsets_after(clock, 3_000_000, [1_000], later_us + 2 * PERIOD_US)[-1] == 3_001_000


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 400_000), min_size=3, max_size=20))
def test_after_three_records_the_error_is_below_a_step(behind_us: int, delays: list[int]) -> None:
    offsets = offsets_after(DeviceClock(), behind_us, delays)
    assert abs(offsets[-1] - behind_us - min(delays)) < STEP_US


def test_each_record_is_stamped_once_and_every_step_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    devices = DeviceDirectory({"cam": DeviceSettings(clock_offset_ms="auto")})
    stamps = []
    with caplog.at_level(logging.WARNING):
        for n in range(4):
            t_us = START_US + n * 1_000_000
            stamps.append(devices.stamp(SOURCE, t_us))
            devices.acknowledged(stamps[-1], 0, (t_us + 7_000_000) // 1000)
    assert [s.t_us - START_US - n * 1_000_000 for n, s in enumerate(stamps)] == [0, 0, 0, 7_000_000]
    assert [s.recorded_us for s in stamps] == [START_US + n * 1_000_000 for n in range(4)], (
        "the device's own time stays"
    )
    assert stamps[3].extensions == [("ce_recordedtime", "2023-11-14T22:13:23.000000Z")]
    (step,) = caplog.records
    assert (step.device, step.before_ms, step.after_ms) == ("cam", 0, 7_000)  # type: ignore[attr-defined]


def test_a_name_covers_all_streams_of_a_device_and_a_full_source_has_priority() -> None:
    devices = DeviceDirectory(
        {"cam": DeviceSettings(session="porch"), "/devices/cam/back": DeviceSettings(session="yard")}
    )
    matches = {
        source: devices.settings_of(source) for source in (SOURCE, "/devices/cam/back", "/devices/camera/x", "cam", "x")
    }
    assert {source: device and device.session for source, device in matches.items()} == {
        SOURCE: "porch",
        "/devices/cam/back": "yard",
        "/devices/camera/x": None,
        "cam": "porch",
        "x": None,
    }
    assert devices.stamp("/devices/camera/x", 7).t_us == 7
