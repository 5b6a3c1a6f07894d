"""Coverage: which sessions need a frontier record before floors may be committed. Pure.

The windows topic is read back only `tail_us` beyond the floors; what went out before that must be told by a frontier
record, or a restart would build it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class FrontierCoverage:
    """Sessions with windows that no frontier record covers yet, by the append time of the oldest such window.

    old_keys: frontier keys of former owners, read at assignment, with the start that each told.
    """

    tail_us: int
    uncovered: dict[str, int] = field(default_factory=dict)
    old_keys: dict[str, list[tuple[bytes, int]]] = field(default_factory=dict)

    def on_window_emitted(self, session: str, appended_us: int) -> None:
        """A final window of a session was acknowledged (or read back from the tail)."""
        self.uncovered.setdefault(session, appended_us)

    def on_session_forgotten(self, session: str) -> None:
        """A session needs no frontier any more; what its topic holds of it goes by retention."""
        self.uncovered.pop(session, None)
        self.old_keys.pop(session, None)

    def due_sessions(self, new_floors_appended_us: Iterable[int]) -> list[str]:
        """The sessions to cover before these floors are committed.

        new_floors_appended_us: append times of the records at the new floors, as far as they are known; an unknown
        one is later than every known one or the only kind there is. Then nothing is held, and all are due.
        """
        known = list(new_floors_appended_us)
        before_us = min(known) - self.tail_us if known else None
        return sorted(s for s, emitted_us in self.uncovered.items() if before_us is None or emitted_us < before_us)

    def on_frontier_acknowledged(self, session: str, start_us: int) -> list[bytes]:
        """A frontier record of ours is acknowledged: the former owners' keys that say no more and can go."""
        self.uncovered.pop(session, None)
        keys = self.old_keys.pop(session, [])
        higher = [(key, told_us) for key, told_us in keys if told_us > start_us]
        if higher:
            self.old_keys[session] = higher
        return [key for key, told_us in keys if told_us <= start_us]
