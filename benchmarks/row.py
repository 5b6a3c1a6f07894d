"""One row of the results: a system in a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured; *_per_event and *_per_window count the CPU of all processes of the system, nothing else's.

    latency_ms: p50, p99 and p99.9 from the last record that a window needed to the window, on the broker's clock (live
    cases only). wrong, missing: windows that differ from the oracle's; either makes the row invalid. behind_ms: how far
    the generator fell behind its schedule at worst.
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
        """True where every window is what the logs say and none is missing."""
        return not (self.wrong or self.missing or self.troubles)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99 and p99.9, empty for no values."""
    if not values:
        return {}
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    return {"p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999)}


def middle(rows: Sequence[Row]) -> Row:
    """The run with the median cost (of two, the dearer); wrong and missing windows are those of the worst run."""
    ordered = sorted(rows, key=lambda row: row.cpu_us_per_event)
    row = ordered[len(rows) // 2]
    worst = {name: max(getattr(r, name) for r in rows) for name in ("wrong", "missing", "troubles")}
    cost = [r.cpu_us_per_event for r in rows]
    return replace(row, runs=len(rows), spread={"least": min(cost), "most": max(cost)}, **worst)
