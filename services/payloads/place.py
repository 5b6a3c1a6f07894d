"""Where a payload stands: the modality, and partition and offset in its log."""

from __future__ import annotations

from services.contract.window import Member

Place = tuple[str, int, int]


def place_of(modality: str, member: Member) -> Place:
    """Where the payload of a member stands, as a key."""
    return modality, member.partition, member.offset
