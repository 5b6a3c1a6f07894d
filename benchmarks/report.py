"""Results as JSON and as a page with tables."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.row import Row

RESULTS = Path(__file__).parents[1] / "docs" / "results"
HEAD = (
    "system", "valid", "CPU us/event", "CPU ms/window", "events/s", "MB", "p50", "p99", "p99.9 ms",
    "wrong", "missing", "of", "broker us/event", "Redis us/event",
)  # fmt: skip


@dataclass(slots=True)
class Results:
    """Everything that one run of the command found; failed: by case and system, why there is no row."""

    machine: dict[str, Any]
    aligning: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "aligning": [asdict(row) | {"valid": row.valid} for row in self.aligning],
            "failed": self.failed,
        }


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "load_before": [round(n, 1) for n in os.getloadavg()],
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
    }


def write(results: Results, folder: Path) -> None:
    """Write bench.json and bench.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results.as_json(), indent=1, sort_keys=True) + "\n")
    (folder / "bench.md").write_text(page(results))


def page(results: Results) -> str:
    """The page of the results."""
    m = results.machine
    lines = [
        "# Benchmark",
        "",
        f"`make bench` on {m['cpus']} CPUs ({m['architecture']}), {m['memory_gb']} GB, Python {m['python']}, commit "
        f"{m['commit']}; load average {m['load_before'][0]} before it began. Ratios travel between machines, absolute "
        "figures do not. What the rows mean: [performance.md](../performance.md).",
        "",
        "## A: ingest and align",
    ]
    for case in dict.fromkeys(row.case for row in results.aligning):
        rows = [row for row in results.aligning if row.case == case]
        lines += ["", *table(case, rows)]
    if results.failed:
        lines += ["", "Not measured: " + "; ".join(f"{what}: {why}" for what, why in results.failed.items()) + "."]
    return "\n".join(lines) + "\n"


def table(case: str, rows: Sequence[Row]) -> list[str]:
    """A table of one case, the cheapest first; ratios against Braid."""
    first = rows[0]
    ordered = sorted(rows, key=lambda row: row.cpu_us_per_event)
    ours = next((row.cpu_us_per_event for row in rows if row.system == "braid"), 0.0)
    said = (
        f"### {case}: {first.sessions:,} sessions, {first.bytes_per_event:,.0f} bytes an event, windows {first.window}"
    )
    lines = [said, "", "| " + " | ".join((*HEAD, "against Braid")) + " |", "|---|---|" + "---:|" * (len(HEAD) - 1)]
    for row in ordered:
        waits = [f"{row.latency_ms[p]:.0f}" if row.latency_ms else "" for p in ("p50", "p99", "p99.9")]
        name = row.system + (f", {row.workers} processes" if row.workers > 1 else "")
        cells = [
            name,
            "yes" if row.valid else "**no**",
            f"{row.cpu_us_per_event:.1f}",
            f"{row.cpu_ms_per_window:.2f}",
            f"{row.events_per_s:,.0f}",
            f"{row.rss_mb:.0f}",
            *waits,
            f"{row.wrong:,}",
            f"{row.missing:,}",
            f"{row.checked:,}",
            f"{row.broker_cpu_us_per_event:.0f}",
            f"{row.redis_cpu_us_per_event:.0f}",
            f"{row.cpu_us_per_event / ours:.2f}" if ours else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [f"- {row.system}: {row.cannot}" for row in ordered if row.cannot]
    versions = "; ".join(f"{r.system}: " + ", ".join(f"{n} {v}" for n, v in r.versions.items()) for r in ordered)
    return [*lines, "", f"Runs of each: {max(r.runs for r in rows)}. Versions: {versions}."]
