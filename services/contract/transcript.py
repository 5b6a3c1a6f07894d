"""Text payloads: plain text, or the JSON of a speech-to-text program, of which only the member `text` is used."""

from __future__ import annotations

import unicodedata

from services.contract import canonical, media_headers
from services.contract.dead_letter import Reason, Rejected

TEXT, JSON = "text/plain", "application/json"
TEXT_TYPES = (TEXT, JSON)
_REPLACEMENT = "\ufffd"


def read_transcript(content_type: str, payload: bytes) -> str | Rejected:
    """Return the text of a payload, read leniently: what somebody said does not depend on how a program wrote it."""
    if media_headers.parse_content_type(content_type)[0] != JSON:
        text = canonical.decode_text(payload)
        return Rejected(Reason.UTF8, "the text is not UTF-8") if text is None else text
    try:
        message = canonical.loads_lenient(payload)
    except canonical.InvalidJson as error:
        return Rejected(Reason.TEXT, f"the message is not JSON that can be read: {error}")
    found = message.get("text") if isinstance(message, dict) else None
    return found if isinstance(found, str) else Rejected(Reason.TEXT, 'a JSON message needs a "text"')


def has_content(text: str) -> bool:
    """Return False for a text that says nothing: only spaces, punctuation, control or replacement characters."""
    return any(unicodedata.category(c)[0] not in "ZCP" and c != _REPLACEMENT for c in text)
