"""Reading window records one after the other: what stands in several of them is read once."""

from __future__ import annotations

import json
from collections.abc import Sequence

from services.contract import window
from services.contract.canonical import JSON_BYTES_MAX
from services.contract.window import Member, Window

# How many members are remembered at least, and at most twice as many: some 3 KB each with its texts.
MEMBERS_MAX = 8_192
# Longer ones are read each time: whoever may write to the topic shall not fill the memory.
BODY_MAX = 1_024
_MEMBER, _LAST = '{"at":[', '}],"state":'


class WindowReader:
    """Reads like `window.read`; a member is one object in all windows that it stands in, with what is made of it.

    A record is mostly members, and those of its predecessor. Only of canonical records is it told where a member begins
    and ends: what is read is written again and must give the very bytes, else the record is read as any other. That
    also shows that no key stands twice, so that the plain reader of JSON will do.
    """

    def __init__(self, members_max: int = MEMBERS_MAX) -> None:
        self._members_max = members_max
        self._new: dict[str, Member] = {}
        self._old: dict[str, Member] = {}

    def read(self, raw: bytes | None) -> Window | None:
        """The window of a record, None for what is none."""
        try:
            if raw is not None and len(raw) <= JSON_BYTES_MAX:
                found = self._read(raw)
                if window.encode(found) == raw:
                    return found
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            pass
        return window.decode_or_none(raw)

    def _read(self, raw: bytes) -> Window:
        """The window of a canonical record; of any other something else, or an error."""
        # No text of a record has these signs in it, for the quotes of a text are escaped.
        frame, *rest = raw.decode().split(_MEMBER)
        bodies: list[str] = []
        ends = [0]
        for part in rest:
            if len(bodies) == ends[-1]:
                frame += str(len(ends) - 1)
            body, last, tail = part.partition(_LAST)
            bodies.append(body if last else part[:-2])
            if last:
                frame += last[1:] + tail
                ends.append(len(bodies))
        members = self._members(bodies)
        # A lane that has members names the number of its own.
        return window.made(json.loads(frame), lambda lane: members[ends[lane[0]] : ends[lane[0] + 1]] if lane else ())

    def _members(self, bodies: Sequence[str]) -> tuple[Member, ...]:
        """What stands between the brackets of members, read."""
        new, old = self._new, self._old
        missing = [body for body in bodies if body not in new]
        if missing:
            if max(map(len, missing)) > BODY_MAX:
                raise ValueError("a member too long to be remembered")
            if len(new) + len(missing) > self._members_max:
                self._old, self._new = old, new = new, {}
                missing = list(bodies)
            unread = [body for body in missing if body not in old]
            read = json.loads(f"[{','.join([f'{_MEMBER}{body}}}' for body in unread])}]")
            made = dict(zip(unread, map(window.decode_member, read), strict=True))
            new |= {body: made[body] if body in made else old[body] for body in missing}
        return tuple([new[body] for body in bodies])
