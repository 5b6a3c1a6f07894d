"""The lanes of the sessions heard last, drawn again and again on a terminal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from services.contract import canonical
from services.contract.envelope import Headers
from services.contract.topics import Topics
from services.lanes.lanes import Lanes

SESSIONS_MAX = 200
BESIDE = 16
ANSWERS = 2
FRAME = 3


class Screen:
    """Takes records of the media, predictions and events topics; of many sessions those heard last are shown."""

    def __init__(self, topics: Topics, console: Console) -> None:
        self._topics, self._console = topics, console
        self._sessions: OrderedDict[str, Lanes] = OrderedDict()
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.render, screen=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._live.stop()

    def take(self, topic: str, key: bytes | None, headers: Headers, value: bytes | None, appended_us: int) -> None:
        """Take a record; ticks, and what is no record, change nothing."""
        if key is None:
            return
        session = key.decode(errors="replace")
        lanes = self._sessions.setdefault(session, Lanes(session))
        self._sessions.move_to_end(session)
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        if topic in self._topics.media_all:
            lanes.chunk(self._topics.modality_of(topic), headers, value, appended_us)
            return
        try:
            record: Mapping[str, Any] = canonical.loads_object(value or b"")
            if topic == self._topics.events:
                lanes.event = {name: record[name] for name in ("lifecycle", "kind", "label")}
            else:
                lanes.answer(record)
        except (canonical.NotJson, KeyError, TypeError):
            return

    def render(self) -> Group:
        """As many sessions as fit, the one heard last on top."""
        modalities = self._topics.modalities
        height = 2 * len(modalities) + ANSWERS + FRAME
        room = max(self._console.height // height, 1)
        columns = max(self._console.width - BESIDE, 10)
        shown = list(reversed(self._sessions.values()))[:room]
        panels = [
            Panel(
                Text("\n".join([*lanes.draw(columns, modalities), lanes.told]), no_wrap=True), title=Text(_name(lanes))
            )
            for lanes in shown
        ]
        hidden = len(self._sessions) - len(shown)
        return Group(*panels, Text(f"{hidden} more sessions" if hidden else ""))


def _name(lanes: Lanes) -> str:
    return "".join(c if c.isprintable() else " " for c in lanes.session)
