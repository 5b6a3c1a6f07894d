"""Benchmark results: rows, their statistics, and the pages and JSON files they are written to."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SECTIONS = {
    "A": "A: ingest and align",
    "hold": "A: the highest rate held, 99 of 100 windows within 100 ms",
    "streams": "B and C: the shipped streams with the shipped model",
    "scale": "Scale out: one, two and four aligners over eight partitions",
}
HEAD = (
    "valid", "CPU us/event", "CPU ms/window", "events/s", "windows/s", "MB", "p50", "p99", "p99.9 ms", "wrong",
    "missing", "of", "broker us/event", "Redis us/event", "against Braid",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """The figures of one system in one case, as bench.json stores them.

    Attributes:
        cpu_us_per_event: CPU of all processes of the system and of nothing else, as in `cpu_ms_per_window`.
        latency_ms: p50, p99 and p99.9 from the last record that a window needed to the window, by the broker's clock
            (live cases only).
        behind_ms: The largest delay of the generator against its schedule.
        wrong: Windows that differ from the oracle's; like missing ones and troubles, they make the row invalid.
        cannot: What of the job the system cannot express.
    """

    case: str
    system: str
    versions: dict[str, str]
    sessions: int
    workers: int
    window: str
    seconds: float
    events: int
    windows: int
    events_per_s: float
    windows_per_s: float
    cpu_us_per_event: float
    cpu_ms_per_window: float
    broker_cpu_us_per_event: float
    redis_cpu_us_per_event: float
    bytes_per_event: float
    rss_mb: float
    latency_ms: dict[str, float]
    behind_ms: int
    wrong: int
    missing: int
    copies: int
    troubles: int
    checked: int
    cannot: str = ""
    runs: int = 1
    spread: dict[str, float] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Whether every window equals the oracle's and none is missing."""
        return not (self.wrong or self.missing or self.troubles)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and p99.9, or nothing if there are no values."""
    if not values:
        return {}
    ordered = sorted(values)

    def quantile(share: float) -> float:
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    return {"p50": quantile(0.5), "p99": quantile(0.99), "p99.9": quantile(0.999)}


def median_row(rows: Sequence[BenchmarkRow]) -> BenchmarkRow:
    """Return the run with the median cost, with the wrong and missing windows of the worst run."""
    ordered = sorted(rows, key=lambda row: row.cpu_us_per_event)
    row = ordered[len(rows) // 2]
    worst = {name: max(getattr(r, name) for r in rows) for name in ("wrong", "missing", "troubles")}
    cost = [r.cpu_us_per_event for r in rows]
    return replace(row, runs=len(rows), spread={"least": min(cost), "most": max(cost)}, **worst)


@dataclass(slots=True)
class BenchmarkResults:
    """The rows and the machine of each section, and for each case and system without a row why it failed."""

    machine: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, list[BenchmarkRow]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the content of bench.json."""
        rows = {name: [asdict(row) | {"valid": row.valid} for row in rows] for name, rows in self.rows.items()}
        return {"machine": self.machine, "rows": rows, "failed": self.failed}


def read_results(folder: Path) -> BenchmarkResults:
    """Return the results in a folder, empty if there are none."""
    path = folder / "bench.json"
    if not path.exists():
        return BenchmarkResults()
    stored = json.loads(path.read_text())
    rows = {
        name: [BenchmarkRow(**{key: value for key, value in row.items() if key != "valid"}) for row in rows]
        for name, rows in stored["rows"].items()
    }
    return BenchmarkResults(stored["machine"], rows, stored["failed"])


def describe_machine() -> dict[str, Any]:
    """Describe this machine, its load and the commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
    }


def print_page(page: str, name: str, *, write: bool) -> None:
    """Print a page of results, and write it to docs/results on demand."""
    sys.stdout.write(page)
    if write:
        (RESULTS / name).write_text(page)


def median_of_each(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over several runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def write_results(results: BenchmarkResults, folder: Path) -> None:
    """Write bench.json and bench.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results.as_json(), indent=1, sort_keys=True) + "\n")
    (folder / "bench.md").write_text(render_page(results))


def render_page(results: BenchmarkResults) -> str:
    """Render bench.md."""
    lines = [
        "# Benchmark",
        "",
        "`make bench`. Ratios carry over to other machines, absolute figures do not. [Performance](../performance.md) explains "
        "the rows, and [capacity](../capacity.md) derives hardware from them.",
    ]
    for section, title in SECTIONS.items():
        rows = results.rows.get(section, [])
        if not rows:
            continue
        lines += ["", f"## {title}", "", _describe_run(results.machine[section])]
        if section == "A":
            lines += ["", "![CPU per event of each system](bench.png)"]
        for case in dict.fromkeys(row.case for row in rows):
            lines += ["", *render_table(case, [row for row in rows if row.case == case])]
    if results.failed:
        lines += ["", "Not measured: " + "; ".join(f"{what} ({why})" for what, why in results.failed.items()) + "."]
    return "\n".join(lines) + "\n"


def _describe_run(m: Mapping[str, Any]) -> str:
    return (
        f"{m['cpus']} CPUs ({m['architecture']}), {m['memory_gb']} GB, Python {m['python']}, commit {m['commit']}, "
        f"{m['began']}; load average {m['load_before']:g} before it began, {m['load_after']:g} after it."
        + (f" {m['note']}" if "note" in m else "")
    )


def render_table(case: str, rows: Sequence[BenchmarkRow]) -> list[str]:
    """Render the table of one case, the cheapest system first."""
    first = rows[0]
    ordered = sorted(rows, key=lambda row: row.cpu_us_per_event)
    braid_us = next((row.cpu_us_per_event for row in rows if row.system == "braid"), 0.0)
    size = f", {first.bytes_per_event:,.0f} bytes an event" if first.bytes_per_event else ""
    heading = f"### {case}: {first.sessions:,} sessions{size}, windows {first.window}"
    lines = [heading, "", "| system | " + " | ".join(HEAD) + " |", "|---|---|" + "---:|" * (len(HEAD) - 1)]
    for row in ordered:
        latencies = [f"{row.latency_ms[p]:.0f}" if row.latency_ms else "" for p in ("p50", "p99", "p99.9")]
        cells = [
            row.system + (f", {row.workers} processes" if row.workers > 1 else ""),
            "yes" if row.valid else "**no**",
            f"{row.cpu_us_per_event:.1f}",
            f"{row.cpu_ms_per_window:.2f}",
            f"{row.events_per_s:,.0f}",
            f"{row.windows_per_s:,.0f}",
            f"{row.rss_mb:.0f}",
            *latencies,
            f"{row.wrong:,}",
            f"{row.missing:,}",
            f"{row.checked:,}",
            f"{row.broker_cpu_us_per_event:.0f}",
            f"{row.redis_cpu_us_per_event:.0f}",
            f"{row.cpu_us_per_event / braid_us:.2f}" if braid_us else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"- {row.system}: {row.cannot}" for row in ordered if row.cannot]
    lines += ["", *notes] if notes else []
    versions = "; ".join(f"{r.system}: " + ", ".join(f"{n} {v}" for n, v in r.versions.items()) for r in ordered)
    return [*lines, "", f"Runs of each: {max(r.runs for r in rows)}. Versions: {versions}."]
