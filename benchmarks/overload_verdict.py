"""The cases of overload, and what holds in them: from when windows and their predictions were appended, and no more."""

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
    """A load, twice what the stub can do at level 0; early: half of it early answers."""

    name: str
    timing: StubTiming
    early: bool
    level_max: int

    @property
    def capacity(self) -> float:
        """Windows a second at level 0, with one new piece of sound in each."""
        t = self.timing
        return 1000 * SIZE / (t.fixed_ms + SIZE * (t.each_ms + t.item_ms.get("audio", 0.0)))


# Under the load a level needs some steps to be found; afterwards there is nothing left to wait for.
WAIT_MAX_MS = {"busy": 3_000, "calm": 500}
CASES = (
    OverloadCase("early and final predictions, levels up to 1", StubTiming(20, 2.5), True, 1),
    OverloadCase("final predictions only, levels up to 3", StubTiming(10, 1, {"audio": 6}), False, 3),
    OverloadCase("final predictions only, levels up to 1", StubTiming(20, 2.5), False, 1),
)


def judge_run(
    case: OverloadCase, seconds: float, sent: list[tuple[int, dict[str, Any]]], said: list[tuple[int, dict[str, Any]]]
) -> dict[str, Any]:
    """The four properties of an overload run, from the two topics."""
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for at_ms, prediction in said:
        first.setdefault(prediction["id"].rpartition("@")[0], (at_ms, prediction))
    began = min(at_ms for at_ms, _ in sent)
    over = began + seconds * 1000
    waits: dict[str, list[int]] = {"busy": [], "calm": []}
    levels: dict[int, int] = {}
    late_levels = set()
    lost = 0
    for at_ms, record in sent:
        if not record["final"]:
            continue
        answer = first.get(record["id"])
        if answer is None:
            lost += 1
            continue
        level = answer[1]["level"]
        levels[level] = levels.get(level, 0) + 1
        if at_ms <= over:
            waits["busy"].append(answer[0] - at_ms)
        elif at_ms > over + RECOVERED_S * 1000:
            waits["calm"].append(answer[0] - at_ms)
            late_levels.add(level)
    held = sum(began + 2_000 <= at_ms < over for at_ms, _ in said) / (seconds - 2)
    return {
        "case": case.name,
        "capacity": round(case.capacity),
        "offered": round(sum(at_ms < over for at_ms, _ in sent) / seconds),
        "goodput of capacity": round(held / case.capacity, 3),
        "final windows": sum(record["final"] for _, record in sent),
        "lost": lost,
        "answers by level": {str(level): levels[level] for level in sorted(levels)},
        "wait ms": {name: _percentiles(found) for name, found in waits.items()},
        "levels after recovery": sorted(late_levels),
    }


def _percentiles(values: list[int]) -> Mapping[str, int]:
    ordered = sorted(values) or [0]
    return {f"p{p}": ordered[min(len(ordered) * p // 100, len(ordered) - 1)] for p in (50, 99, 100)}


def list_failures(case: OverloadCase, row: Mapping[str, Any], seconds: float) -> list[str]:
    """What did not hold in a case.

    Final answers alone at levels up to 1 are those of which nothing can be left out: they wait as long as the load
    goes on, and are all there in the end. In the other cases waiting has a bound, and ends with the load.
    """
    out = []
    if row["lost"]:
        out.append(f"{row['lost']} final windows were dropped")
    if row["goodput of capacity"] < GOODPUT_MIN:
        out.append(f"goodput {row['goodput of capacity']:.0%} of capacity")
    if case.early or case.level_max > 1:
        out += [f"p99 {row['wait ms'][name]['p99']} ms, {name}" for name in row["wait ms"] if not _bound(row, name)]
    elif row["wait ms"]["busy"]["p100"] > seconds * 1000 * 1.25:
        out.append(f"waits of {row['wait ms']['busy']['p100']} ms, more than twice the load explains")
    return out


def _bound(row: Mapping[str, Any], name: str) -> bool:
    return bool(row["wait ms"][name]["p99"] <= WAIT_MAX_MS[name])


def render_page(rows: Sequence[Mapping[str, Any]], seconds: float, load_then: float) -> str:
    """The Markdown of what was measured."""
    m = describe_machine()
    lines = [
        "# Overload: twice the load that the device can process",
        "",
        f"`python -m benchmarks.overload --seconds {seconds:g} --write` on {m['cpus']} CPUs, commit {m['commit']}, load "
        f"average {load_then:.1f} to {m['load_before']:.1f}: a fusion worker with a stub for the device,",
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
        f"Bounds: goodput {GOODPUT_MIN:.0%}; p99 {WAIT_MAX_MS['busy']:,} ms under the load and {WAIT_MAX_MS['calm']:,} "
        "ms after it. In the third case nothing can be left",
        "out: final windows lag, by no more than the load explains.",
    ]
    return "\n".join(lines) + "\n"
