"""Does a sense say something else than it used to? How sure it alone is, lately against before. Pure."""

from __future__ import annotations

from math import log2

BINS = 10
# Windows: ten minutes and four hours of one session that sends without a break, at two windows a second.
LATELY, BEFORE = 1_200, 28_800
# Until so many were seen there is no before.
FROM = 2 * LATELY


class Drift:
    """Two histograms of each sense's confidence, in which old windows count less and less."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._lately: dict[str, list[float]] = {}
        self._before: dict[str, list[float]] = {}

    def take(self, modality: str, confidence: float) -> None:
        """A window in which the sense was there; confidence in [0, 1]: of the model with this sense alone."""
        place, seen = min(int(confidence * BINS), BINS - 1), self._seen.get(modality, 0) + 1
        self._seen[modality] = seen
        for kept, memory in ((self._lately, LATELY), (self._before, BEFORE)):
            shares = kept.setdefault(modality, [0.0] * BINS)
            # While fewer windows were seen than are remembered, all of them count the same.
            weight = 1 / min(seen, memory)
            shares[:] = [share * (1 - weight) for share in shares]
            shares[place] += weight

    def scores(self) -> dict[str, float]:
        """By modality, the Jensen-Shannon divergence of the two in bits: 0 where they are the same, 1 where nothing is."""
        return {
            modality: _divergence(self._lately[modality], self._before[modality]) if seen >= FROM else 0.0
            for modality, seen in self._seen.items()
        }


def _divergence(p: list[float], q: list[float]) -> float:
    found = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        found += sum(x * log2(x / middle) for x in (a, b) if x > 0) / 2
    return min(max(found, 0.0), 1.0)
