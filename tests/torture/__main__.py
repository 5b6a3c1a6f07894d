"""Tortures a real stack and judges it: `python -m tests.torture --minutes 5 --seed 1`; 1 where anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
from pathlib import Path

from tests.torture.report import blind_spots, lines
from tests.torture.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the sender sends (from 0.5 on)")
    parser.add_argument("--seed", type=int, help="the plan of faults and the records (default: a new one)")
    parser.add_argument("--folder", type=Path, help="keep logs and topics there")
    asked = parser.parse_args()
    if asked.minutes < 0.5:
        parser.error("a run has at least 0.5 minutes")
    # Our own clients meet a broker that is away: that is the plan.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    seed = asked.seed if asked.seed is not None else random.randrange(1_000_000)
    with tempfile.TemporaryDirectory(prefix="torture-") as made:
        folder = asked.folder or Path(made)
        outcome = asyncio.run(run(seed, asked.minutes * 60, folder, lambda text: print(text, flush=True)))
    print("\n" + "\n".join(lines(outcome)))
    return 1 if outcome.verdict.troubles or blind_spots(outcome) else 0


if __name__ == "__main__":
    sys.exit(main())
