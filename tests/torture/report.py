"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

from tests.torture.plan import KINDS
from tests.torture.run import Outcome

TROUBLES_SHOWN = 20


def blind_spots(outcome: Outcome) -> list[str]:
    """Kinds of faults that did not land as planned, or never while work was in flight: they prove nothing."""
    spots = [
        f"{kind}: {outcome.landed[kind]} of {count} landed"
        for kind, count in outcome.planned.items()
        if outcome.landed[kind] < count
    ]
    return spots + [f"{kind}: never in flight" for kind in outcome.planned if not outcome.in_flight[kind]]


def lines(outcome: Outcome) -> Iterator[str]:
    """What a person reads."""
    yield f"{'fault':<24}{'planned':>9}{'landed':>9}{'in flight':>11}"
    for kind in KINDS:
        yield f"{kind:<24}{outcome.planned[kind]:>9}{outcome.landed[kind]:>9}{outcome.in_flight[kind]:>11}"
    counts = [sum(found.values()) for found in (outcome.planned, outcome.landed, outcome.in_flight)]
    yield f"{'all':<24}{counts[0]:>9}{counts[1]:>9}{counts[2]:>11}"
    yield ""
    for name, count in outcome.verdict.counts.items():
        yield f"{name:<26}{count:>10,}"
    for name, count in sorted(outcome.ended.items()):
        yield f"{'by itself, ' + name:<26}{count:>10,}"
    yield f"{'wrong':<26}{len(outcome.verdict.troubles):>10,}"
    for trouble in outcome.verdict.troubles[:TROUBLES_SHOWN]:
        yield f"  {trouble}"
    for spot in blind_spots(outcome):
        yield f"  {spot}"
