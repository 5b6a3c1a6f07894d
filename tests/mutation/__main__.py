"""Breaks the pure files in every small way and asks the tests: `python -m tests.mutation [--file floor.py]`.

1 where a mutant survives without a stated reason (tests/mutation/excused.py), or a reason fits no survivor.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutation.excused import EXCUSED
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.trial import STAGES, trial, warm_up
from tests.mutation.verdict import Key, Verdict, judge

ROOT = Path(__file__).parents[2]
_ALIGNER = [
    "alignment",
    "admission_cache",
    "idleness",
    "ordered_merge",
    "partition",
    "recovery",
    "session",
    "window_builder",
]
FILES = [f"services/aligner/{name}.py" for name in _ALIGNER]
FILES += ["services/fusion/event_detector.py", "services/fusion/recovery.py", "services/contract/alignment_config.py"]
SURVIVED, TOO_LONG = "survived", "too long"


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__)
    parser.add_argument("--file", default="", help="only files whose path holds this")
    parser.add_argument("--stages", type=int, default=len(STAGES), help="only so many stages, the quickest first")
    asked = parser.parse_args()
    files = [file for file in FILES if asked.file in file]
    if not files:
        parser.error(f"no such file; there are {', '.join(FILES)}")
    with tempfile.TemporaryDirectory(prefix="braid-mutation-") as compiled:
        # Children compile what they import once, and never beside the sources.
        sys.pycache_prefix, sys.dont_write_bytecode = compiled, False
        warm_up()
        return _report(*_try(files, list(STAGES)[: asked.stages]), files)


def _try(files: list[str], stages: list[str]) -> tuple[dict[str, Counter[str]], list[Mutant]]:
    """For each file the count of mutants by the stage that killed them, and those that survived."""
    limits = {stage: _baseline(stage) for stage in stages}
    ends: dict[str, Counter[str]] = {}
    survivors: list[Mutant] = []
    for file in files:
        ends[file] = Counter()
        began, mutants = time.monotonic(), mutants_of(file, (ROOT / file).read_text())
        # Threads only wait for the children that they fork; a child goes on as the thread that made it, alone.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for mutant, end in zip(mutants, pool.map(lambda mutant: _end(mutant, limits), mutants), strict=True):
                ends[file][end] += 1
                if end == SURVIVED:
                    survivors.append(mutant)
                    if mutant.key not in EXCUSED:
                        _say(f"  survived: {mutant.file} {mutant.id}\n    - {mutant.before}\n    + {mutant.after}")
        _say(f"{file}: {len(mutants)} mutants, {ends[file][SURVIVED]} survived; {time.monotonic() - began:.0f} s")
    return ends, survivors


def _end(mutant: Mutant, limits: Mapping[str, int]) -> str:
    """The stage that noticed a mutant, or that it survived all of them."""
    for stage, limit_s in limits.items():
        tried = trial(stage, mutant, limit_s)
        if not tried.green:
            return TOO_LONG if tried.too_long else stage
    return SURVIVED


def _baseline(stage: str) -> int:
    """The seconds that a stage may take; the second time counts, when all is compiled."""
    for _ in range(2):
        tried = trial(stage, None, 600)
        if not tried.green:
            raise SystemExit(f"without any mutant already, something is wrong: {stage}")
    _say(f"baseline: {stage} green in {tried.took_s:.1f} s")
    return int(5 + 4 * tried.took_s)


def _report(ends: dict[str, Counter[str]], survivors: list[Mutant], files: list[str]) -> int:
    verdict = judge(survivors, EXCUSED, files)
    columns = [*STAGES, TOO_LONG, SURVIVED]
    _say(f"\n{'file':32}{'mutants':>10}" + "".join(f"{column:>13}" for column in columns))
    for file, count in [*ends.items(), ("all", sum(ends.values(), Counter()))]:
        _say(f"{file:32}{count.total():>10}" + "".join(f"{count[column]:>13}" for column in columns))
    _say("Killed by the unit tests, by what follows, by taking too long for the baseline; and survived.\n")
    _tell(verdict)
    return 0 if verdict.good else 1


def _tell(verdict: Verdict) -> None:
    for mutant, reason in verdict.explained:
        _say(f"may survive: {mutant.file} {mutant.id}: {reason}")
    for mutant in verdict.unexplained:
        _say(f"NO REASON: {_line(mutant.key)}")
    for key in verdict.stale:
        _say(f"STALE REASON, no such survivor: {_line(key)}")
    counts = len(verdict.explained), len(verdict.unexplained), len(verdict.stale)
    _say("{} survivors with a reason, {} without, {} stale reasons".format(*counts))


def _line(key: Key) -> str:
    return " ".join(key)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
