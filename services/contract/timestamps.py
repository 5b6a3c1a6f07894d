"""Timestamps: RFC 3339 text to integer microseconds since the epoch, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from services.contract.record_fields import TIME_US_MAX, TIME_US_MIN

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_MICROSECOND = timedelta(microseconds=1)


def parse(text: str) -> int | None:
    """Parse an RFC 3339 timestamp to microseconds since the epoch (further digits are cut); None if it is invalid."""
    # The form of nearly all devices, 2026-07-31T12:34:56.123456Z: its second is mostly in the cache.
    if len(text) == 27 and text[19] == "." and text[26] == "Z":
        fraction, whole_us = text[20:26], _second(text[:19])
        if whole_us is not None and fraction.isascii() and fraction.isdigit():
            return whole_us + int(fraction)
    return _parse(text)


@lru_cache(4_096)
def _second(text: str) -> int | None:
    return _parse(text + "Z")


def _parse(text: str) -> int | None:
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = match.groups()
    try:
        whole = datetime(int(year), int(month), int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC)
    except ValueError:
        return None
    if int(second) > 60 or int(off_hour or 0) > 23 or int(off_minute or 0) > 59:
        return None
    t_us = (whole - _EPOCH) // _MICROSECOND + (1_000_000 if second == "60" else 0)
    t_us += int((fraction or "").ljust(6, "0")[:6])
    offset_us = (int(off_hour or 0) * 60 + int(off_minute or 0)) * 60_000_000
    t_us += offset_us if sign == "-" else -offset_us
    return t_us if TIME_US_MIN <= t_us <= TIME_US_MAX else None


def format_us(t_us: int) -> str:
    """Return the RFC 3339 text in UTC of a time since the epoch, always with microseconds; cut to years 1 to 9999."""
    when = _EPOCH + timedelta(microseconds=min(max(t_us, TIME_US_MIN), TIME_US_MAX))
    return when.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
