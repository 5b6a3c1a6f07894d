"""The page of what a window costs the fusion worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.samples import FUSION

BUDGET_MS = 0.4
HEAD = f"""# What a window costs the fusion worker

`make profile-fusion` (benchmarks/fusion_profile.py): 50 sessions of class A (13 events per session and second: ten of
sound of 3.2 KB, two frames of 640 x 360 in 6.6 KB, one text; 5 % late, 1 % repeated, 0.1 % broken). The real aligner makes
the windows, which are then answered as a backlog by the real worker with the stub for a device. Medians of three.

What is counted: all CPU of the worker's process, threads included, between a tenth and nine tenths of the windows: reading
window records, payloads from Redis and their sha256, **decoding each frame and chunk, once, and making the encoders' input of
it**, waiting for the stub, explanation, fold, records, publishing with the broker's answer, commits, metrics. What is not: the
model, Redis, the broker, early answers. "Media" is the decoding of a window's new events and the making of encoder inputs from
them, measured by itself, item by item; "without media" leaves it out. The budget is {BUDGET_MS} ms for aligner and fusion in
windows of 13 new events, without the model: "both without media" is to be held against it. Media alone are more than it:
such a window has two new frames, and 640 x 360 pixels take a millisecond to decode and make small.
The bare loop reads the same window records with aiokafka and does nothing. Microseconds depend on the machine and on
what else ran there, the ratios of two columns of one row less so. Before and after differ in the aligner too.
"""


def page(told: Mapping[str, Any]) -> str:
    """The Markdown of what was measured, before and after."""
    return "\n".join([HEAD, *_machines(told), *_costs(told), *_layers(told), *_functions(told)]) + "\n"


def _machines(told: Mapping[str, Any]) -> Iterator[str]:
    for name, row in told.items():
        m = row["machine"]
        yield (
            f"- {name}: commit {m['commit']}, {m['cpus']} CPUs ({m['architecture']}), {m['began']}, load average "
            f"{m['load_before']} to {row['load_after']}"
        )
    yield ""


def _costs(told: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "| windows, batches | | new events per window | fusion, ms | bare loop, ms | ratio | of which media | without media "
        "| aligner, ms | both without media | windows of a batch | encodes per item | resident MB |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    names = dict.fromkeys(case for row in told.values() for case in row["cases"])
    for case in names:
        for name, row in told.items():
            if found := row["cases"].get(case):
                yield _cost(case, name, found)
    yield ""


def _cost(case: str, name: str, found: Mapping[str, float]) -> str:
    ms, aligner_ms, without_ms = found["ms"], found["aligner_ms"], found["ms"] - found["media_ms"]
    per_item = f"{found['per_item']:.3f}" if "per_item" in found else "not counted"
    return (
        f"| {case} | {name} | {found['events']:.1f} | {ms:.2f} | {found['bare_ms']:.3f} | {ms / found['bare_ms']:.0f} "
        f"| {found['media_ms']:.2f} | {without_ms:.2f} | {aligner_ms:.2f} | {without_ms + aligner_ms:.2f} "
        f"| {found['batch']:.1f} | {per_item} | {found['resident_mb']:.0f} |"
    )


def _layers(told: Mapping[str, Any]) -> Iterator[str]:
    yield "Where the samples of py-spy lie, in the first case, and what that makes of its microseconds. (It also counts a\nthread that is ready and has no CPU: on a busy machine the shares of the loop are too large.)"
    yield ""
    yield "| layer |" + "".join(f" {name} | us |" for name in told)
    yield "|---|" + "---:|---:|" * len(told)
    most = {layer: max(row["layers"].get(layer, 0.0) for row in told.values()) for layer in FUSION.layers}
    for layer in sorted((found for found in most if most[found]), key=lambda found: -most[found]):
        shares = [(row["layers"].get(layer, 0.0), next(iter(row["cases"].values()))["ms"]) for row in told.values()]
        yield f"| {layer} |" + "".join(f" {share:.1%} | {share * ms * 1e3:.0f} |" for share, ms in shares)


def _functions(told: Mapping[str, Any]) -> Iterator[str]:
    for name, row in told.items():
        yield from ("", f"The functions with the most samples of their own, {name}:", "")
        yield from ("| function | own | with what it calls |", "|---|---:|---:|")
        yield from (f"| `{f}` | {own:.1%} | {whole:.1%} |" for f, (own, whole) in row["functions"].items())
