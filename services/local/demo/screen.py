"""Progress of the demo: a table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.contract.event import Event
from services.local.demo.watch import ObservedOutputs
from services.offline.evaluation.kafka_player import PlaybackSchedule

EVERY_S = 5.0


class Screen:
    """Writes to stderr; stdout is for the result."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._schedule: PlaybackSchedule | None = None
        self._events: dict[str, str] = {}
        self._next = 0.0

    def note(self, text: str) -> None:
        """Print one line."""
        self._console.print(f"[dim]·[/dim] {text}", soft_wrap=True)

    def begin(self, schedule: PlaybackSchedule, sessions: Mapping[str, Any]) -> None:
        """Start to show the progress of a playback."""
        self._schedule, self._sessions = schedule, list(sessions)
        pace = "in real time" if schedule.speed == 1 else f"{schedule.speed:g} times faster (a test speed)"
        self.note(
            f"playing {len(sessions)} streams {pace}, seconds {schedule.from_us / 1e6:g} to {schedule.to_us / 1e6:g}"
        )
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()

    def show(self, events: Sequence[tuple[int, Event]], seen: ObservedOutputs) -> None:
        """Show new events, and how many predictions there are."""
        for at_ms, e in events:
            mark = {"new": "+", "update": "~", "end": "-", "withdrawn": "x"}[e.lifecycle]
            certainty = "" if e.final else " (early)"
            text = f"{mark} {e.kind} {e.label} {e.confidence:.2f}{certainty}"
            self._events[e.session] = text
            if self._live is None and e.lifecycle != "end":
                print(f"{self._stream_s(at_ms):7.1f} s  {e.session}  {text}", file=sys.stderr)
        if self._live is not None:
            self._live.update(self._table(seen))
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_S
            print(
                f"{self._stream_s(time.time() * 1000):7.1f} s  {len(seen.first_ms)} early predictions, "
                f"{len(seen.final_ms)} final predictions, {len(seen.events)} event records",
                file=sys.stderr,
            )

    def end(self) -> None:
        """Stop the live table."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _stream_s(self, at_ms: float) -> float:
        assert self._schedule is not None
        gone_s = (at_ms * 1000 - self._schedule.wall_us(self._schedule.from_us)) / 1e6
        return self._schedule.from_us / 1e6 + gone_s * self._schedule.speed

    def _table(self, seen: ObservedOutputs) -> Table:
        table = Table(title=f"stream second {self._stream_s(time.time() * 1000):.1f}")
        for column in ("session", "early prediction", "final prediction", "last event"):
            table.add_column(column)
        for session in self._sessions:
            latest = seen.latest.get(session, {})
            table.add_row(
                session,
                *(_prediction_text(latest.get(kind)) for kind in ("first", "final")),
                self._events.get(session, ""),
            )
        return table


def _prediction_text(found: tuple[int, str, float] | None) -> str:
    return "" if found is None else f"{found[1]} {found[2]:.2f}"
