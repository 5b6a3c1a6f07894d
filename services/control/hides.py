"""What no command shows: what is about a time that was forgotten or came then, and media of muted senses. Pure."""

from __future__ import annotations

from collections.abc import Callable

from services.contract import canonical, envelope, moment
from services.contract.control import Control
from services.contract.envelope import Envelope, Headers
from services.contract.topics import Topics

# In which field a record of ours says which event time it is about.
TIMES = ("start_us", "start", "t_us")


def hides(
    of: Callable[[str], Control | None],
    topics: Topics,
    topic: str,
    key: bytes | None,
    headers: Headers,
    value: bytes | None,
    appended_us: int,
) -> bool:
    """True for a record that must not be shown; of: what was said of a session, appended_us: the broker's clock."""
    if key is None or topic in (topics.control, topics.frontier):
        return False
    control = of(key.decode(errors="replace"))
    if control is None:
        return False
    times = [appended_us, *_about(headers, value)]
    if control.forgets(*times):
        return True
    return topic in topics.media_all and control.mutes(topics.modality_of(topic), *((t, t) for t in times))


def _about(headers: Headers, value: bytes | None) -> list[int]:
    read = envelope.unwrap(headers, value)
    stated = moment.parse(read.get("time")) if isinstance(read, Envelope) else None
    if stated is not None:
        return [stated]
    record = canonical.object_or_empty(value)
    window = record.get("window")
    found = [record.get(name) for name in TIMES] + [window.get("start") if isinstance(window, dict) else None]
    return [t_us for t_us in found if type(t_us) is int]
