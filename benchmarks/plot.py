"""The plot of the results, drawn from bench.json in an environment with matplotlib."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.peer_environments import InstallError, Progress, peer_python

ROOT = Path(__file__).parents[1]
CASES = ("backlog", "live")
COLORS = {"braid": "#2458a8", "bare": "#888888"}


def draw_plot(folder: Path, progress: Progress) -> None:
    """Draw bench.png beside bench.json; report why not if the environment cannot be made."""
    try:
        python = peer_python("plot", progress)
    except InstallError as error:
        progress(f"no plot: {error}")
        return
    subprocess.run([str(python), "-m", "benchmarks.plot", str(folder)], check=True, cwd=ROOT)


def main(folder: Path) -> None:
    """Plot CPU per event of each system, one panel for each case; hatched bars had wrong or missing windows."""
    import matplotlib.pyplot as plt  # installed only in the environment that `draw_plot` makes

    rows = json.loads((folder / "bench.json").read_text())["rows"].get("A", [])
    figure, panels = plt.subplots(1, len(CASES), figsize=(9, 3.2), constrained_layout=True)
    for panel, case in zip(panels, CASES, strict=True):
        case_rows = sorted((row for row in rows if row["case"] == case), key=lambda row: row["cpu_us_per_event"])
        names = [row["system"] for row in case_rows]
        bars = panel.barh(
            names,
            [row["cpu_us_per_event"] for row in case_rows],
            color=[COLORS.get(name, "#c9772b") for name in names],
            hatch=["" if row["valid"] else "///" for row in case_rows],
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
