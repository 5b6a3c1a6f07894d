"""Text payloads to strings."""

from __future__ import annotations

import json
from typing import Any

from model.decode.undecodable import Undecodable

CHARACTERS_MAX = 8_192


def decode_text(payload: bytes, content_type: str) -> str | Undecodable:
    """The text of `text/plain` (UTF-8) or of `application/json` {"text": …}."""
    try:
        text = payload.decode()
        if content_type.partition(";")[0].strip().lower() == "application/json":
            text = json.loads(text)["text"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Undecodable(f"not readable as text ({type(error).__name__})")
    return as_text(text)


def as_text(given: Any) -> str | Undecodable:
    """A string of a length that is taken."""
    if not isinstance(given, str) or len(given) > CHARACTERS_MAX:
        return Undecodable(f"not a text of at most {CHARACTERS_MAX} characters")
    return given
