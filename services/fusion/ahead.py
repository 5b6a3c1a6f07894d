"""Early answers made good: what came after a window's early answer and belongs to it. Pure.

A sentence that comes half a second late misses the early answer of the first window that it belongs to. The final
answer will hold it, and its events begin with that window; a guess that did not look back would begin them later,
under another id, and be withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.contract import prediction
from services.fusion.predicted import Predicted


@dataclass(slots=True)
class Ahead:
    """An early answer and the log probabilities of its window, made good by later ones.

    missed: by place of the sense, the members that came after the answer; heard: what the first window that held them
    all makes of that sense.
    """

    predicted: Predicted
    log_p: NDArray[np.float64] | None = None
    missed: dict[int, frozenset[tuple[str, str]]] = field(default_factory=dict)
    heard: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def top(self) -> tuple[tuple[str, float], ...]:
        """The most probable labels, as many and rounded as in the record."""
        told = self.predicted.answer.top
        if self.log_p is not None:
            order = np.argsort(-self.log_p, kind="stable")[: len(told)]
            told = tuple((self.predicted.labels[i], float(np.exp(self.log_p[i]))) for i in order)
        return tuple((label, round(p, prediction.DIGITS) + 0.0) for label, p in told)

    def make_good(self, later: Predicted) -> None:
        """Take in what a later window holds of this one: each such sense is heard as the nearest such window hears it.

        One that is further off holds more that this window will never hold: a word said after its end.
        """
        news = False
        for i, modality in enumerate(self.predicted.senses):
            known = self.missed.get(i, frozenset())
            found = known | _missed(self.predicted, later, modality)
            if found != known:
                self.missed[i], self.heard[i], news = found, later.rows[1 << i] - later.rows[0], True
        if news:
            ours = (len(self.predicted.rows) - 1) & ~sum(1 << i for i in self.heard)
            # The product of experts: each sense's own row, the prior that both hold taken out once.
            total = self.predicted.rows[ours] + sum(self.heard.values())
            self.log_p = total - np.log(np.exp(total).sum())


def _missed(earlier: Predicted, later: Predicted, modality: str) -> frozenset[tuple[str, str]]:
    window, ours, theirs = earlier.window, *(p.window.modalities.get(modality) for p in (earlier, later))
    if ours is None or theirs is None:
        return frozenset()
    held = {(m.source, m.id) for m in ours.members}
    return frozenset(
        (m.source, m.id)
        for m in theirs.members
        if window.start_us <= m.t_us < window.end_us and not m.alive and (m.source, m.id) not in held
    )
