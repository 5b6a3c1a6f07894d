"""Canonical JSON: one byte string per value, a strict decoder with limits, and a lenient one for what devices send."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

from services.contract.record_fields import INTEGER_MAX, ContractError

JSON_BYTES_MAX = 4 * 1024 * 1024
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
# Shorter runs of digits are integers of less than 64 bits.
_DIGITS_TO_ZERO, _LONG_INTEGER = bytes.maketrans(b"123456789", b"000000000"), b"0" * 19


class InvalidJson(ContractError):
    """Bytes that are not strict JSON; the message gives the reason and never quotes the content."""


class UnwritableJson(ContractError):
    """A value that has no canonical JSON; the message gives the reason and never quotes the value."""


def dumps(value: Any) -> bytes:
    """Return the canonical UTF-8 bytes of a JSON value: sorted keys, no spaces.

    Raises:
        UnwritableJson: The value holds NaN or an infinite number, a lone surrogate, an integer of more than 64 bits,
            something that is not JSON, or is nested too deeply.
    """
    try:
        raw = _encode(value).encode()
    except UnicodeEncodeError:
        raise UnwritableJson("a text holds half a character (a lone surrogate), which UTF-8 cannot write") from None
    except ValueError:
        raise UnwritableJson("a number is not finite or has too many digits, or a value holds itself") from None
    except TypeError:
        raise UnwritableJson("a value is not JSON: text, number, true, false, null, list or object") from None
    except RecursionError:
        raise UnwritableJson("nested too deeply") from None
    if _LONG_INTEGER in raw.translate(_DIGITS_TO_ZERO):
        _check_integers(value)
    return raw


def _check_integers(value: Any) -> None:
    """Raise UnwritableJson for an integer of more than 64 bits: most readers would round it."""
    if isinstance(value, int):
        if not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
            raise UnwritableJson("an integer has more than 64 bits")
    elif isinstance(value, dict):
        for part in value.values():
            _check_integers(part)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_integers(part)


# Encodes a string as the encoder above does, for records that are joined from parts.
dumps_text: Callable[[str], str] = encode_basestring


def _constant(name: str) -> Any:
    raise InvalidJson(f"{name} is not JSON")


def _integer(digits: str) -> int:
    # 20 characters hold every 64-bit integer; Python refuses more than 4,300 with a plain ValueError.
    value = int(digits) if len(digits) <= 20 else INTEGER_MAX + 1
    if not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
        raise InvalidJson("an integer has more than 64 bits")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if value - value != 0.0:
        raise InvalidJson("a number is too large")
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidJson("a key stands twice in one object")
    return value


# A decoder with a hook for integers costs a third more, so that it reads only what holds a long run of digits.
_decoder = json.JSONDecoder(parse_constant=_constant, parse_float=_finite, object_pairs_hook=_pairs)
_integer_decoder = json.JSONDecoder(
    parse_constant=_constant, parse_float=_finite, parse_int=_integer, object_pairs_hook=_pairs
)


def loads(raw: bytes, bytes_max: int = JSON_BYTES_MAX) -> Any:
    """Decode strict JSON (RFC 8259): what `dumps` can write again, and no key twice. Raises InvalidJson.

    The standard decoder accepts NaN, infinite numbers, lone surrogates, endless nesting and repeated keys (the last one
    wins), and raises several types of errors.
    """
    if len(raw) > bytes_max:
        raise InvalidJson(f"{len(raw)} bytes, at most {bytes_max} are read")
    decoder = _integer_decoder if _LONG_INTEGER in raw.translate(_DIGITS_TO_ZERO) else _decoder
    try:
        value = decoder.decode(raw.decode())
        # Only an escape makes a surrogate. Pairs of them are one character, so that the decoded value decides.
        if b"\\ud" in raw or b"\\uD" in raw:
            _encode(value).encode()
        return value
    except UnicodeDecodeError:
        raise InvalidJson("not UTF-8") from None
    except UnicodeEncodeError:
        raise InvalidJson("a text holds half a character (a lone surrogate)") from None
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


# Byte order marks of Windows programs; UTF-8 is what all others send.
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def decode_text(raw: bytes) -> str | None:
    """Decode text of a device; None if it is not UTF-8, or UTF-16 with a byte order mark.

    The mark is skipped, and half a character (a lone surrogate) becomes U+FFFD: programs cut sentences anywhere.
    """
    encoding = "utf-8"
    for mark, marked in _MARKS:
        if raw.startswith(mark):
            raw, encoding = raw[len(mark) :], marked
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        try:
            return _with_whole_characters(raw.decode(encoding, "surrogatepass"))
        except UnicodeDecodeError:
            return None


def _with_whole_characters(text: str) -> str:
    """Replace lone surrogates by U+FFFD; two that belong together become their character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _integer_or_none(digits: str) -> int | None:
    value = int(digits) if len(digits) <= 20 else INTEGER_MAX + 1
    return value if -INTEGER_MAX - 1 <= value <= INTEGER_MAX else None


def _finite_or_none(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


# `strict=False` takes line breaks within texts.
_lenient_decoder = json.JSONDecoder(
    parse_constant=lambda _: None,
    parse_int=_integer_or_none,
    parse_float=_finite_or_none,
    object_pairs_hook=_pairs,
    strict=False,
)


def loads_lenient(raw: bytes, bytes_max: int = JSON_BYTES_MAX) -> Any:
    """Decode JSON of a device, which may have been written by hand. Raises InvalidJson.

    Text is read as by `decode_text`; a number that is no JSON number or beyond 64 bits becomes null. What this returns
    can be written by `dumps`. A repeated key and endless nesting are refused, because their meaning is unknown.
    """
    if len(raw) > bytes_max:
        raise InvalidJson(f"{len(raw)} bytes, at most {bytes_max} are read")
    text = decode_text(raw)
    if text is None:
        raise InvalidJson("not UTF-8")
    try:
        value = _lenient_decoder.decode(text)
        return _repaired(value) if "\\ud" in text or "\\uD" in text else value
    except json.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise InvalidJson("nested too deeply") from None


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return _with_whole_characters(value)
    if isinstance(value, dict):
        return {_with_whole_characters(name): _repaired(part) for name, part in value.items()}
    return [_repaired(part) for part in value] if isinstance(value, list) else value
