"""`make fuzz`: random inputs into every reader for some minutes; what fails is kept and tried first the next time."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
ROUND_EXAMPLES = 60


def fuzz(seconds: float, targets: Mapping[str, Callable[[], None]] = TARGETS, corpus: Path = CORPUS) -> dict[str, int]:
    """Run all targets in turn until the time is up, each at least once; return how often each was run.

    Raises:
        Exception: What a target failed with; Hypothesis shows the smallest input and adds it to the corpus.
    """
    kept = settings(
        database=DirectoryBasedExampleDatabase(corpus),
        derandomize=False,
        max_examples=ROUND_EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    rounds = dict.fromkeys(targets, 0)
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s or not all(rounds.values()):
        for name, target in targets.items():
            if time.monotonic() < end_s or not rounds[name]:
                _run(target, kept)
                rounds[name] += 1
    return rounds


def _run(target: Any, chosen: settings) -> None:
    """Run a test of Hypothesis, or one with its first argument, under other settings."""
    test: Any = target.func if isinstance(target, partial) else target
    own = test._hypothesis_internal_use_settings
    test._hypothesis_internal_use_settings = chosen
    try:
        target()
    finally:
        test._hypothesis_internal_use_settings = own


def main() -> None:
    """Parse the command line and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    rounds = fuzz(60 * parser.parse_args().minutes)
    total = sum(rounds.values()) * ROUND_EXAMPLES
    print(f"No failure: about {total:,} inputs, {min(rounds.values())} rounds of each of {len(rounds)} targets.")


if __name__ == "__main__":
    main()
