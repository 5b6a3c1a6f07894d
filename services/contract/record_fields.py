"""Typed access to the fields of a JSON record: topics are untrusted input, so that every field may be of any type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# The times that have an RFC 3339 form: microseconds since the epoch, from year 1 to year 9999.
TIME_US_MIN, TIME_US_MAX = -62_135_596_800_000_000, 253_402_300_799_999_999
INTEGER_MAX = (1 << 63) - 1
# Sums of times that records hold are still 64-bit integers.
_FIELD_US_MAX = 1 << 62


class ContractError(ValueError):
    """A record that breaks the contract; the message says why and never quotes the content."""


Fields = Mapping[str, Any]


def _field(record: Fields, name: str) -> Any:
    try:
        return record[name]
    except (KeyError, TypeError):
        raise ContractError(f"{name} is missing") from None


def time_us(record: Fields, name: str) -> int:
    """Return a field that is a time or a duration in microseconds. Raises ContractError."""
    return check_time_us(_field(record, name), name)


def check_time_us(value: object, name: str) -> int:
    """Return a value that is a time or a duration in microseconds. Raises ContractError."""
    if type(value) is not int or not -_FIELD_US_MAX <= value <= _FIELD_US_MAX:
        raise ContractError(f"{name} is not a time in microseconds")
    return value


def time_us_or_none(record: Fields, name: str) -> int | None:
    """Return a field that is a time in microseconds or null. Raises ContractError."""
    value = _field(record, name)
    return None if value is None else check_time_us(value, name)


def integer(record: Fields, name: str) -> int:
    """Return a field that is a signed 64-bit integer. Raises ContractError."""
    value = _field(record, name)
    if type(value) is not int or not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
        raise ContractError(f"{name} is not a 64-bit integer")
    return value


def number(record: Fields, name: str) -> float:
    """Return a field that is a finite number, as it is in the record. Raises ContractError."""
    return check_number(_field(record, name), name)


def check_number(value: object, name: str) -> float:
    """Return a value that is a finite number. Raises ContractError."""
    if type(value) is int and -INTEGER_MAX <= value <= INTEGER_MAX:
        return value
    if type(value) is not float or not math.isfinite(value):
        raise ContractError(f"{name} is not a number")
    return value


def text(record: Fields, name: str) -> str:
    """Return a field that is a string. Raises ContractError."""
    return check_text(_field(record, name), name)


def check_text(value: object, name: str) -> str:
    """Return a value that is a string. Raises ContractError."""
    if not isinstance(value, str):
        raise ContractError(f"{name} is not a text")
    return value


def text_or_none(record: Fields, name: str) -> str | None:
    """Return a field that is a string or null. Raises ContractError."""
    return None if _field(record, name) is None else text(record, name)


def flag(record: Fields, name: str) -> bool:
    """Return a field that is true or false. Raises ContractError."""
    value = _field(record, name)
    if not isinstance(value, bool):
        raise ContractError(f"{name} is neither true nor false")
    return value


def fields(record: Fields, name: str) -> dict[str, Any]:
    """Return a field that is a JSON object. Raises ContractError."""
    return check_fields(_field(record, name), name)


def check_fields(value: object, name: str) -> dict[str, Any]:
    """Return a value that is a JSON object. Raises ContractError."""
    if not isinstance(value, dict):
        raise ContractError(f"{name} is not an object")
    return value


def items(record: Fields, name: str) -> list[Any]:
    """Return a field that is a JSON array. Raises ContractError."""
    value = _field(record, name)
    if not isinstance(value, list):
        raise ContractError(f"{name} is not a list")
    return value


def check_items(value: object, count: int, name: str) -> list[Any]:
    """Return a value that is a JSON array of `count` values. Raises ContractError."""
    if not isinstance(value, list) or len(value) != count:
        raise ContractError(f"{name} is not a list of {count}")
    return value


def objects(record: Fields, name: str) -> list[dict[str, Any]]:
    """Return a field that is a JSON array of objects. Raises ContractError."""
    return [check_fields(value, name) for value in items(record, name)]


def log_position(record: Fields, name: str) -> tuple[int, int]:
    """Return a field that is [partition, offset]. Raises ContractError."""
    partition, offset = check_items(_field(record, name), 2, name)
    if not all(type(part) is int and 0 <= part <= INTEGER_MAX for part in (partition, offset)):
        raise ContractError(f"{name} is not a partition and an offset")
    return partition, offset


def session_of_key(key: bytes | None) -> str:
    """Return the session that is a record's key. Raises ContractError."""
    if key is None:
        raise ContractError("the record has no key: the session is expected there")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise ContractError("the key is not UTF-8") from None
