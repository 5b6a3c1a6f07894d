"""Labels of the home streams: nothing, ten digits, ten sounds."""

from __future__ import annotations

NOTHING = "nothing"
DIGITS = tuple("0123456789")
SOUNDS = (
    "dog",
    "rain",
    "sea_waves",
    "crying_baby",
    "clock_tick",
    "sneezing",
    "helicopter",
    "chainsaw",
    "rooster",
    "crackling_fire",
)
LABELS = (NOTHING, *DIGITS, *SOUNDS)


def label_kind(label: str) -> str:
    """Return the kind of a label: nothing, digit or sound; label for a label of a user's own."""
    if label == NOTHING:
        return NOTHING
    return "digit" if label in DIGITS else "sound" if label in SOUNDS else "label"
