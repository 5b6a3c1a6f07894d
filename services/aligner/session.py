"""What is known of an open session: its lanes with the history of their bounds, and its open windows."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal, NamedTuple

from services.contract.window import Member

NEVER_US = -(1 << 62)
Evidence = Literal["data", "tick", "end"]


Identity = tuple[str, str, int, int]


class WatermarkStep(NamedTuple):
    """One step of a bound: its new value, the broker's time of the record that did it, why, and when we got it."""

    watermark_us: int
    appended_us: int
    evidence: Evidence
    received_mono_us: int


@dataclass(slots=True)
class Stream:
    """One (session, modality): the history of its bound, the identities that it knows, the ticks that it holds.

    known_until: identities by the start of the last window that they are known for; leaving: these starts, as a heap.
    """

    steps: list[WatermarkStep] = field(default_factory=list)
    known: dict[Identity, str] = field(default_factory=dict)
    known_until: dict[int, list[Identity]] = field(default_factory=dict)
    leaving: list[int] = field(default_factory=list)
    ticks: list[tuple[int, int]] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    watermark_us: int = NEVER_US
    announced_watermark_us: int = NEVER_US

    @property
    def all_ended(self) -> bool:
        """True once every source that was seen has ended."""
        return bool(self.ended) and self.sources <= self.ended

    def remember(self, identity: Identity, sha256: str, last_us: int) -> None:
        """Remember an identity until the window that starts at last_us is closed for this modality."""
        self.known[identity] = sha256
        identities = self.known_until.get(last_us)
        if identities is None:
            self.known_until[last_us] = [identity]
            heappush(self.leaving, last_us)
        else:
            identities.append(identity)

    def forget(self, closed_us: int) -> None:
        """Let go of the identities whose last window starts no later than this."""
        while self.leaving and self.leaving[0] <= closed_us:
            for identity in self.known_until.pop(heappop(self.leaving)):
                del self.known[identity]

    def step_reaching(self, level_us: int) -> WatermarkStep | None:
        """The first step that brought the bound to a level, None if it is below it still."""
        # Most lanes are below it still, where this is asked for each session of each batch.
        return self.steps[bisect_left(self.steps, (level_us,))] if level_us <= self.watermark_us else None


@dataclass(slots=True)
class OpenWindow:
    """The members of a window that has not gone out; `answered` once its early answer has.

    opened_us: the smallest broker time of its members; last: modality and offset of those that stand in no later window.
    """

    opened_us: int
    members: dict[str, list[Member]] = field(default_factory=dict)
    last: list[tuple[str, int]] = field(default_factory=list)
    early_emitted: bool = False


@dataclass(slots=True)
class Session:
    """What an open session holds; a session without open windows and ticks holds only its frontier.

    heard_us: when a data record last raised a bound, on the monotonic clock; starts: of the open windows, rising.
    """

    name: str
    modalities: tuple[str, ...]
    streams: dict[str, Stream]
    last_data_mono_us: int
    windows: dict[int, OpenWindow] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)

    @property
    def any_ended(self) -> bool:
        """True once a source has ended and not begun again."""
        return any(lane.ended for lane in self.streams.values())
