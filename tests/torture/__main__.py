"""Run a real stack with faults and judge it: `python -m tests.torture --minutes 5 --seed 1`. Exit code 1 if a check fails."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.torture.plan import KINDS
from tests.torture.run import PER_S, Outcome, run

PROBLEMS_SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the sender sends (from 0.5 on)")
    parser.add_argument("--seed", type=int, help="the plan of faults and the records (default: a new one)")
    parser.add_argument("--rate", type=int, default=PER_S, help=f"records a second (default: {PER_S})")
    parser.add_argument("--faults", type=float, default=1.0, help="times the usual number of faults (default: 1)")
    parser.add_argument("--folder", type=Path, help="where logs and topics are stored")
    arguments = parser.parse_args()
    if arguments.minutes < 0.5:
        parser.error("a run has at least 0.5 minutes")
    # The broker is killed on purpose: do not log the failures of our clients.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    seed = arguments.seed if arguments.seed is not None else random.randrange(1_000_000)
    minutes, rate, density = arguments.minutes, arguments.rate, arguments.faults
    with tempfile.TemporaryDirectory(prefix="torture-") as made:
        folder = arguments.folder or Path(made)
        outcome = asyncio.run(run(seed, minutes * 60, rate, density, folder, lambda text: print(text, flush=True)))
    print("\n" + "\n".join(report_lines(outcome)))
    return 1 if outcome.verdict.problems or blind_spots(outcome) else 0


def blind_spots(outcome: Outcome) -> list[str]:
    """Return the kinds of faults that were not injected as planned, or never while work was in flight."""
    spots = [
        f"{kind}: {outcome.landed[kind]} of {count} landed"
        for kind, count in outcome.planned.items()
        if outcome.landed[kind] < count
    ]
    return spots + [f"{kind}: never in flight" for kind in outcome.planned if not outcome.in_flight[kind]]


def report_lines(outcome: Outcome) -> Iterator[str]:
    """Return the lines of the table that is printed at the end."""
    yield f"{'fault':<24}{'planned':>9}{'landed':>9}{'in flight':>11}"
    for kind in KINDS:
        if not outcome.planned[kind]:
            yield f"{kind:<24}not planned: it is impossible here"
            continue
        yield f"{kind:<24}{outcome.planned[kind]:>9}{outcome.landed[kind]:>9}{outcome.in_flight[kind]:>11}"
    counts = [sum(found.values()) for found in (outcome.planned, outcome.landed, outcome.in_flight)]
    yield f"{'all':<24}{counts[0]:>9}{counts[1]:>9}{counts[2]:>11}"
    yield ""
    for name, count in outcome.verdict.counts.items():
        yield f"{name:<26}{count:>10,}"
    for name, count in sorted(outcome.ended.items()):
        yield f"{'by itself, ' + name:<26}{count:>10,}"
    yield f"{'wrong':<26}{len(outcome.verdict.problems):>10,}"
    for trouble in outcome.verdict.problems[:PROBLEMS_SHOWN]:
        yield f"  {trouble}"
    for spot in blind_spots(outcome):
        yield f"  {spot}"


if __name__ == "__main__":
    sys.exit(main())
