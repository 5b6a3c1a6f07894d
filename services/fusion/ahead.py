"""Early answers made good: what came after a window's early answer and belongs to it. Pure.

A sentence that comes half a second late misses the early answer of the first window that it belongs to. The final
answer will hold it, and its events begin with that window; a guess that did not look back would begin them later,
under another id, and be withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contract import prediction
from services.fusion.predicted import Predicted


@dataclass(slots=True)
class Ahead:
    """An early answer and the log probabilities of its window, made good by later ones."""

    predicted: Predicted
    log_p: NDArray[np.float64] | None = None

    @property
    def top(self) -> tuple[tuple[str, float], ...]:
        """The most probable labels, as many and rounded as in the record."""
        told = self.predicted.answer.top
        if self.log_p is not None:
            order = np.argsort(-self.log_p, kind="stable")[: len(told)]
            told = tuple((self.predicted.labels[i], float(np.exp(self.log_p[i]))) for i in order)
        return tuple((label, round(p, prediction.DIGITS) + 0.0) for label, p in told)

    def make_good(self, later: Predicted) -> None:
        """Take in what a later window holds of this one: each such sense is heard as that window hears it."""
        missed = [i for i, m in enumerate(self.predicted.senses) if _missed(self.predicted, later, m)]
        if missed:
            ours = (len(self.predicted.rows) - 1) & ~sum(1 << i for i in missed)
            # The product of experts: each sense's own row, the prior that both hold taken out once.
            total = self.predicted.rows[ours] + sum(later.rows[1 << i] - later.rows[0] for i in missed)
            self.log_p = total - np.log(np.exp(total).sum())


def _missed(earlier: Predicted, later: Predicted, modality: str) -> bool:
    window, ours, theirs = earlier.window, *(p.window.modalities.get(modality) for p in (earlier, later))
    if ours is None or theirs is None:
        return False
    held = {(m.source, m.id) for m in ours.members}
    return any(
        window.start_us <= m.t_us < window.end_us and not m.alive and (m.source, m.id) not in held
        for m in theirs.members
    )
