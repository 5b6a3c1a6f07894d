"""The cases of overload and their verdict, computed only from the append times of windows and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.results import describe_machine
from benchmarks.stub_model import StubTiming

GOODPUT_MIN = 0.95
SIZE, CALM_S, RECOVERED_S = 8, 8, 2


@dataclass(frozen=True, slots=True)
class OverloadCase:
    """A load of twice what the stub can process at level 0; with `early`, half of its windows are early."""

    name: str
    timing: StubTiming
    early: bool
    level_max: int

    @property
    def capacity(self) -> float:
        """Windows per second at level 0, with one new piece of audio in each."""
        t = self.timing
        return 1000 * SIZE / (t.fixed_ms + SIZE * (t.each_ms + t.item_ms.get("audio", 0.0)))


# Under load the worker needs some steps to find its level; afterwards nothing delays a prediction.
LATENCY_MAX_MS = {"busy": 3_000, "calm": 500}
CASES = (
    OverloadCase("early and final predictions, levels up to 1", StubTiming(20, 2.5), True, 1),
    OverloadCase("final predictions only, levels up to 3", StubTiming(10, 1, {"audio": 6}), False, 3),
    OverloadCase("final predictions only, levels up to 1", StubTiming(20, 2.5), False, 1),
)


def judge_run(
    case: OverloadCase,
    seconds: float,
    windows: list[tuple[int, dict[str, Any]]],
    predictions: list[tuple[int, dict[str, Any]]],
) -> dict[str, Any]:
    """Compute the figures of a run.

    Args:
        case: The case.
        seconds: How long the overload lasted.
        windows: The windows topic: append time (ms) and record.
        predictions: The predictions topic, in the same form.
    """
    first_prediction: dict[str, tuple[int, dict[str, Any]]] = {}
    for at_ms, prediction in predictions:
        first_prediction.setdefault(prediction["id"].rpartition("@")[0], (at_ms, prediction))
    began = min(at_ms for at_ms, _ in windows)
    overload_end = began + seconds * 1000
    latencies: dict[str, list[int]] = {"busy": [], "calm": []}
    levels: dict[int, int] = {}
    recovered_levels = set()
    lost = 0
    for at_ms, record in windows:
        if not record["final"]:
            continue
        prediction_at = first_prediction.get(record["id"])
        if prediction_at is None:
            lost += 1
            continue
        predicted_ms, prediction = prediction_at
        level = prediction["level"]
        levels[level] = levels.get(level, 0) + 1
        if at_ms <= overload_end:
            latencies["busy"].append(predicted_ms - at_ms)
        elif at_ms > overload_end + RECOVERED_S * 1000:
            latencies["calm"].append(predicted_ms - at_ms)
            recovered_levels.add(level)
    goodput_per_s = sum(began + 2_000 <= at_ms < overload_end for at_ms, _ in predictions) / (seconds - 2)
    return {
        "case": case.name,
        "capacity": round(case.capacity),
        "offered": round(sum(at_ms < overload_end for at_ms, _ in windows) / seconds),
        "goodput of capacity": round(goodput_per_s / case.capacity, 3),
        "final windows": sum(record["final"] for _, record in windows),
        "lost": lost,
        "answers by level": {str(level): levels[level] for level in sorted(levels)},
        "wait ms": {name: _percentiles(values) for name, values in latencies.items()},
        "levels after recovery": sorted(recovered_levels),
    }


def _percentiles(values: list[int]) -> Mapping[str, int]:
    ordered = sorted(values) or [0]
    return {f"p{p}": ordered[min(len(ordered) * p // 100, len(ordered) - 1)] for p in (50, 99, 100)}


def list_failures(case: OverloadCase, row: Mapping[str, Any], seconds: float) -> list[str]:
    """Return the bounds that a case did not keep.

    With final predictions only and levels up to 1, nothing can be left out: latency grows while the load lasts, and all
    predictions come in the end. In the other cases latency is bounded and falls when the load does.
    """
    failures = []
    if row["lost"]:
        failures.append(f"{row['lost']} final windows were dropped")
    if row["goodput of capacity"] < GOODPUT_MIN:
        failures.append(f"goodput {row['goodput of capacity']:.0%} of capacity")
    if case.early or case.level_max > 1:
        failures += [
            f"p99 {row['wait ms'][name]['p99']} ms, {name}"
            for name in row["wait ms"]
            if not _is_within_bound(row, name)
        ]
    elif row["wait ms"]["busy"]["p100"] > seconds * 1000 * 1.25:
        failures.append(f"latency of {row['wait ms']['busy']['p100']} ms, more than twice the load explains")
    return failures


def _is_within_bound(row: Mapping[str, Any], name: str) -> bool:
    return bool(row["wait ms"][name]["p99"] <= LATENCY_MAX_MS[name])


def render_page(rows: Sequence[Mapping[str, Any]], seconds: float, load_before: float) -> str:
    """Render docs/results/overload.md."""
    machine = describe_machine()
    lines = [
        "# Overload: twice the load that the device can process",
        "",
        f"`python -m benchmarks.overload --seconds {seconds:g} --write` on {machine['cpus']} CPUs, commit {machine['commit']}, load "
        f"average {load_before:.1f} to {machine['load_before']:.1f}: a fusion worker with a stub for the device,",
        f"{seconds:g} s at twice its capacity, then {CALM_S} s at half. Latency is from the append time of a final "
        "window to that of its prediction. Goodput is predictions per second",
        f'divided by capacity. "After the load" are windows that arrived more than {RECOVERED_S} s after it fell.',
        "",
        "| case | capacity, windows/s | offered | goodput | final windows | dropped | p50, ms | p99, ms | p99 after "
        "the load, ms | predictions by level | within bounds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in rows:
        busy, calm = row["wait ms"]["busy"], row["wait ms"]["calm"]
        levels = ", ".join(f"{level}: {count:,}" for level, count in row["answers by level"].items())
        lines.append(
            f"| {row['case']} | {row['capacity']} | {row['offered']} | {row['goodput of capacity']:.0%} "
            f"| {row['final windows']:,} | {row['lost']} | {busy['p50']:,} | {busy['p99']:,} | {calm['p99']:,} "
            f"| {levels} | {'; '.join(row['failures']) or 'yes'} |"
        )
    lines += [
        "",
        f"Bounds: goodput {GOODPUT_MIN:.0%}; p99 {LATENCY_MAX_MS['busy']:,} ms under the load and {LATENCY_MAX_MS['calm']:,} "
        "ms after it. In the third case nothing can be left",
        "out: final windows lag, by no more than the load explains.",
    ]
    return "\n".join(lines) + "\n"
