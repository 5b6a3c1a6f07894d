"""Find where a mixed-in recording is audible: a clip of a dog is silent for most of its length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.decode import RATE

PIECE_SAMPLES = RATE // 4
# Least amplitude of the added audio, relative to the existing audio and absolute (int16 scale).
RELATIVE_MIN, AMPLITUDE_MIN = 0.6, 15.0
# Pauses of up to half a second count as audible: the pauses between ticks belong to the clock.
LINGER_PIECES = 2


def find_audible_spans(
    before: NDArray[np.float32], after: NDArray[np.float32], begin: float, end: float
) -> list[tuple[float, float]]:
    """Return the spans [from, to) in seconds, within [begin, end), in which audio that was added to `before` is audible."""
    count = len(before) // PIECE_SAMPLES
    added, existing = (
        np.sqrt(np.mean(sound[: count * PIECE_SAMPLES].reshape(count, PIECE_SAMPLES).astype(np.float64) ** 2, axis=1))
        for sound in (after - before, before)
    )
    loud = np.flatnonzero((added > RELATIVE_MIN * existing) & (added > AMPLITUDE_MIN))
    audible = np.zeros(count, np.bool_)
    for piece in loud:
        audible[max(piece - LINGER_PIECES, 0) : piece + LINGER_PIECES + 1] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[False], audible, [False]]).astype(int)))
    spans = [(low * PIECE_SAMPLES / RATE, high * PIECE_SAMPLES / RATE) for low, high in zip(edges[::2], edges[1::2], strict=True)]
    return [(max(low, begin), min(high, end)) for low, high in spans if max(low, begin) < min(high, end)]
