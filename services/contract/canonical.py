"""Canonical JSON: one byte string per value, and a strict decoder with limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

JSON_BYTES_MAX = 4 * 1024 * 1024
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class InvalidJson(ValueError):
    """Bytes that are not strict JSON; the message gives the reason and never quotes the content."""


def dumps(value: Any) -> bytes:
    """Return the canonical UTF-8 bytes of a JSON value: sorted keys, no spaces, no NaN."""
    return _encode(value).encode()


# Encodes a string as the encoder above does, for records that are joined from parts.
dumps_text: Callable[[str], str] = encode_basestring


def _constant(name: str) -> Any:
    raise InvalidJson(f"{name} is not JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidJson("a key stands twice in one object")
    return value


_decoder = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_pairs)


def loads(raw: bytes, bytes_max: int = JSON_BYTES_MAX) -> Any:
    """Decode strict JSON (RFC 8259): no NaN, no repeated key, no endless nesting. Raises InvalidJson.

    The standard decoder accepts all three (the last of two equal keys wins there).
    """
    if len(raw) > bytes_max:
        raise InvalidJson(f"{len(raw)} bytes, at most {bytes_max} are read")
    try:
        return _decoder.decode(raw.decode())
    except UnicodeDecodeError:
        raise InvalidJson("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise InvalidJson("nested too deeply") from None


def loads_object(raw: bytes, bytes_max: int = JSON_BYTES_MAX) -> dict[str, Any]:
    """Decode strict JSON whose value must be an object. Raises InvalidJson."""
    value = loads(raw, bytes_max)
    if not isinstance(value, dict):
        raise InvalidJson("not an object")
    return value


def object_or_empty(raw: bytes | None) -> dict[str, Any]:
    """Decode a JSON object; return {} if it is invalid (topics are untrusted input)."""
    try:
        return loads_object(raw or b"")
    except InvalidJson:
        return {}
