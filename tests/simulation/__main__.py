"""Play histories and print their problems: `python -m tests.simulation --seeds 10000`, or `--seed 17` for one."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from rich.progress import track

from tests.simulation.history import History, play, play_many


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=2_000, help="number of histories with zombies, and as many without"
    )
    parser.add_argument("--seed", type=int, help="play this one only")
    arguments = parser.parse_args()
    total: Counter[str] = Counter()
    wrong: list[History] = []
    for zombies in (False, True):
        if arguments.seed is not None:
            results = iter([play(arguments.seed, zombies=zombies)])
        else:
            results = play_many(range(arguments.seeds), zombies=zombies)
        count = 1 if arguments.seed is not None else arguments.seeds
        for history in track(results, "with zombies" if zombies else "crashes only", total=count):
            total.update(histories=1, windows=history.windows, crashes=history.crashes, repeats=history.repeats)
            if history.problems:
                wrong.append(history)
                sys.stdout.write(f"seed {history.seed} zombies={history.zombies}: {'; '.join(history.problems[:3])}\n")
    sys.stdout.write(", ".join(f"{count:,} {what}" for what, count in total.items()))
    sys.stdout.write(f"; {len(wrong)} of them wrong\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
