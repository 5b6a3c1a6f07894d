"""The plot of the results, drawn from the JSON in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.peer_environments import InstallError, Progress, peer_python

ROOT = Path(__file__).parents[1]
CASES = ("backlog", "live")
COLOURS = {"braid": "#2458a8", "bare": "#888888"}


def draw_plot(folder: Path, say: Progress) -> None:
    """Draw bench.png beside bench.json; without the environment for it there is none, which is said."""
    try:
        python = peer_python("plot", say)
    except InstallError as why:
        say(f"no plot: {why}")
        return
    subprocess.run([str(python), "-m", "benchmarks.plot", str(folder)], check=True, cwd=ROOT)


def main(folder: Path) -> None:
    """CPU per event by system, a panel for each case; hatched: windows were wrong or missing."""
    import matplotlib.pyplot as plt  # only in the environment that `draw` makes

    rows = json.loads((folder / "bench.json").read_text())["rows"].get("A", [])
    figure, panels = plt.subplots(1, len(CASES), figsize=(9, 3.2), constrained_layout=True)
    for panel, case in zip(panels, CASES, strict=True):
        mine = sorted((row for row in rows if row["case"] == case), key=lambda row: row["cpu_us_per_event"])
        names = [row["system"] for row in mine]
        bars = panel.barh(
            names,
            [row["cpu_us_per_event"] for row in mine],
            color=[COLOURS.get(name, "#c9772b") for name in names],
            hatch=["" if row["valid"] else "///" for row in mine],
        )
        panel.bar_label(bars, fmt="%.0f", padding=3)
        panel.set_title(case, loc="left", fontsize=10)
        panel.set_xlabel("CPU microseconds per event (hatched: wrong or missing windows)", fontsize=8)
        panel.margins(x=0.15)
        panel.invert_yaxis()
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "bench.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
