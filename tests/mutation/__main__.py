"""Run the tests against mutants of the pure files: `python -m tests.mutation [--file idleness.py]`.

Exit code 1 if a mutant survives without a reason in tests/mutation/excused.py, or a reason matches no survivor.
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
from tests.mutation.verdict import Key, MutationVerdict, judge

ROOT = Path(__file__).parents[2]
_ALIGNER = [
    "alignment",
    "cached_admission",
    "idleness",
    "member_limits",
    "ordered_merge",
    "panes",
    "partition",
    "recovery",
    "retained_offsets",
    "session",
    "window_builder",
]
FILES = [f"services/aligner/{name}.py" for name in _ALIGNER]
FILES += ["services/fusion/event_detector.py", "services/fusion/recovery.py", "services/contract/alignment_config.py"]
SURVIVED, TOO_LONG = "survived", "too long"


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__)
    parser.add_argument("--file", default="", help="only files whose path contains this")
    parser.add_argument("--stages", type=int, default=len(STAGES), help="how many stages, the fastest first")
    options = parser.parse_args()
    files = [file for file in FILES if options.file in file]
    if not files:
        parser.error(f"no such file; there are {', '.join(FILES)}")
    with tempfile.TemporaryDirectory(prefix="braid-mutation-") as compiled:
        # Children share one cache of compiled files, outside the source tree.
        sys.pycache_prefix, sys.dont_write_bytecode = compiled, False
        warm_up()
        return _report(*_try(files, list(STAGES)[: options.stages]), files)


def _try(files: list[str], stages: list[str]) -> tuple[dict[str, Counter[str]], list[Mutant]]:
    """Return, for each file, the number of mutants killed by each stage; and all survivors."""
    limits = {stage: _baseline(stage) for stage in stages}
    ends: dict[str, Counter[str]] = {}
    survivors: list[Mutant] = []
    for file in files:
        ends[file] = Counter()
        began, mutants = time.monotonic(), mutants_of(file, (ROOT / file).read_text())
        # The threads only wait: each forks a child, which continues with that thread alone.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for mutant, end in zip(mutants, pool.map(lambda mutant: _end(mutant, limits), mutants), strict=True):
                ends[file][end] += 1
                if end == SURVIVED:
                    survivors.append(mutant)
                    if mutant.key not in EXCUSED:
                        _print(f"  survived: {mutant.file} {mutant.id}\n    - {mutant.before}\n    + {mutant.after}")
        _print(f"{file}: {len(mutants)} mutants, {ends[file][SURVIVED]} survived; {time.monotonic() - began:.0f} s")
    return ends, survivors


def _end(mutant: Mutant, limits: Mapping[str, int]) -> str:
    """Return the stage that killed a mutant, or that it survived."""
    for stage, limit_s in limits.items():
        result = trial(stage, mutant, limit_s)
        if not result.green:
            return TOO_LONG if result.too_long else stage
    return SURVIVED


def _baseline(stage: str) -> int:
    """Return the time limit of a stage (CPU seconds), from its second run, when all files are compiled."""
    for _ in range(2):
        result = trial(stage, None, 600)
        if not result.green:
            raise SystemExit(f"the tests fail without a mutant: {stage}")
    _print(f"baseline: {stage} green in {result.took_s:.1f} s")
    return int(5 + 4 * result.took_s)


def _report(ends: dict[str, Counter[str]], survivors: list[Mutant], files: list[str]) -> int:
    verdict = judge(survivors, EXCUSED, files)
    columns = [*STAGES, TOO_LONG, SURVIVED]
    _print(f"\n{'file':32}{'mutants':>10}" + "".join(f"{column:>13}" for column in columns))
    for file, count in [*ends.items(), ("all", sum(ends.values(), Counter()))]:
        _print(f"{file:32}{count.total():>10}" + "".join(f"{count[column]:>13}" for column in columns))
    _print("Killed by the unit tests, by the later stages, or by exceeding the time limit; and survived.\n")
    _print_verdict(verdict)
    return 0 if verdict.passed else 1


def _print_verdict(verdict: MutationVerdict) -> None:
    for mutant, reason in verdict.explained:
        _print(f"may survive: {mutant.file} {mutant.id}: {reason}")
    for mutant in verdict.unexplained:
        _print(f"NO REASON: {_line(mutant.key)}")
    for key in verdict.stale:
        _print(f"STALE REASON, no such survivor: {_line(key)}")
    counts = len(verdict.explained), len(verdict.unexplained), len(verdict.stale)
    _print("{} survivors with a reason, {} without, {} stale reasons".format(*counts))


def _line(key: Key) -> str:
    return " ".join(key)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
