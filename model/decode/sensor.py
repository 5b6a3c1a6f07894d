"""Readings of sensors to numbers: JSON objects such as {"temperature": 21.5, "motion": true, "door": "open"}."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.decode.undecodable import Undecodable

READINGS = ("temperature", "motion", "door")
DOORS: Mapping[Any, float] = {"open": 1.0, "closed": 0.0, True: 1.0, False: 0.0}
# Degrees Celsius: what a room has, and how far from it half of the scale is.
MIDDLE_C, SPAN_C, CELSIUS_MAX = 20.0, 10.0, 200.0
BYTES_MAX = 4_096


def decode_sensor(payload: bytes, content_type: str) -> NDArray[np.float32] | Undecodable:
    """float32 [2 * readings]: each reading about 0, and whether it was made. What else the object holds is passed over."""
    if len(payload) > BYTES_MAX:
        return Undecodable(f"more than {BYTES_MAX} bytes of readings")
    try:
        read = json.loads(payload)
    except (ValueError, RecursionError) as error:
        return Undecodable(f"not readable as JSON ({type(error).__name__})")
    return readings(read)


def readings(read: Any) -> NDArray[np.float32] | Undecodable:
    """The same from what is no JSON text any more, as a manifest's row holds it."""
    if not isinstance(read, dict):
        return Undecodable("readings are a JSON object")
    made = {name: _value(name, read[name]) for name in READINGS if read.get(name) is not None}
    if not made:
        return Undecodable(f"none of the readings {', '.join(READINGS)}")
    wrong = [name for name, value in made.items() if value is None]
    if wrong:
        return Undecodable(f"{wrong[0]} is no such reading")
    values = [made.get(name) or 0.0 for name in READINGS]
    return np.array([*values, *(float(name in made) for name in READINGS)], np.float32)


def _value(name: str, given: Any) -> float | None:
    if name == "temperature":
        number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) <= CELSIUS_MAX
        return (given - MIDDLE_C) / SPAN_C if number else None
    if name == "motion":
        return float(given) if isinstance(given, bool) else None
    return DOORS.get(given) if isinstance(given, str | bool) else None
