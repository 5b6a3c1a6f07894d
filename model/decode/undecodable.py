"""Why bytes could not be decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A sentence that never quotes the payload."""

    detail: str
