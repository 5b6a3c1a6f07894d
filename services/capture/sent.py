"""What is wanted of a source, and what was sent of it so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Sent:
    """What was sent of one source so far."""

    name: str
    pictures: int = 0
    sound_us: int = 0
    bytes: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to capture: pictures in a second at most, pixels of one at most, from second from_s of a file, for so long."""

    fps: float
    pixels_max: int
    from_s: float = 0
    seconds: float | None = None
