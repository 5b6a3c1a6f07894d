"""The capacity page: how much of everything so many devices need, from the measured rows and stated assumptions.

`python -m benchmarks.capacity` writes docs/capacity.md from docs/results/bench.json; `make bench` does it too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks.load import EVENTS_PER_SESSION_SECOND
from benchmarks.report import RESULTS, Results, read
from benchmarks.row import Row

PAGE = Path(__file__).parents[1] / "docs" / "capacity.md"
DEVICES = (1_000, 100_000, 10_000_000)
PREPARED = "B: prepared windows, the real model"
STUBBED = "B: prepared windows, the stub device"


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is not measured here, each with its line on the page."""

    devices_per_session: int = 3  # a microphone, a camera, something that writes
    windows_per_session_s: float = 2.0  # final ones; windows every half second
    busy: float = 0.6  # of a core, a disk or a wire, so that there is room to catch up
    broker_cores: int = 8
    broker_bytes_s: float = 1.25e9  # a wire of 10 Gbit/s
    copies: int = 3  # of each record on brokers
    readers: int = 2  # aligner, and one more that reads media
    shard_bytes: float = 16e9
    ttl_s: int = 120
    gpu_windows_s: float = 20_000  # 32 M parameters on the slower card of docs/results/gpu-cuda.md
    partition_cores: float = 0.5  # of an aligner, so that one partition never fills a core


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was measured: CPU us per event, ms per window, bytes."""

    aligner_us: float
    broker_us: float
    redis_us: float
    event_bytes: float
    fusion_ms: float
    beside_ms: float  # of a window where a device does the inference


@dataclass(frozen=True, slots=True)
class Need:
    """What a number of devices needs."""

    devices: int
    sessions: int
    events_s: float
    bytes_s: float
    windows_s: float
    aligner_cores: int
    partitions: int
    fusion_cores: int
    gpus: int
    gpu_cores: int
    broker_by_cpu: int
    broker_by_wire: int
    shards_by_cpu: int
    shards_by_memory: int

    @property
    def brokers(self) -> int:
        return max(self.broker_by_cpu, self.broker_by_wire, 1 if self.devices <= DEVICES[0] else 3)

    @property
    def shards(self) -> int:
        return max(self.shards_by_cpu, self.shards_by_memory)


def inputs(results: Results) -> Inputs:
    """The rows that the page builds on. Raises LookupError where one is missing."""
    align = _row(results.rows.get("A", []), "backlog")
    serve, beside = (_row(results.rows.get("streams", []), case) for case in (PREPARED, STUBBED))
    return Inputs(
        round(align.cpu_us_per_event, 1),
        round(align.broker_cpu_us_per_event, 1),
        round(align.redis_cpu_us_per_event, 1),
        round(align.bytes_per_event),
        round(serve.cpu_ms_per_window, 2),
        round(beside.cpu_ms_per_window, 2),
    )


def _row(rows: Sequence[Row], case: str) -> Row:
    found = [row for row in rows if row.system == "braid" and row.case == case]
    if not found:
        raise LookupError(f"bench.json has no row of Braid for {case!r}: `make bench`")
    return found[0]


def need(devices: int, i: Inputs, a: Assumed) -> Need:
    """The arithmetic."""
    sessions = ceil(devices / a.devices_per_session)
    events_s = float(sessions * EVENTS_PER_SESSION_SECOND)
    bytes_s, windows_s = events_s * i.event_bytes, sessions * a.windows_per_session_s
    aligner = events_s * i.aligner_us / 1e6
    wire = bytes_s * (a.copies + a.readers) / (a.broker_bytes_s * a.busy)
    return Need(
        devices=devices,
        sessions=sessions,
        events_s=events_s,
        bytes_s=bytes_s,
        windows_s=windows_s,
        aligner_cores=ceil(aligner / a.busy),
        partitions=max(8, ceil(aligner / a.partition_cores)),
        fusion_cores=ceil(windows_s * i.fusion_ms / 1000 / a.busy),
        gpus=ceil(windows_s / (a.gpu_windows_s * a.busy)),
        gpu_cores=ceil(windows_s * i.beside_ms / 1000 / a.busy),
        broker_by_cpu=ceil(events_s * i.broker_us / 1e6 * a.copies / (a.broker_cores * a.busy)),
        broker_by_wire=ceil(wire),
        shards_by_cpu=ceil(events_s * i.redis_us / 1e6 / a.busy),
        shards_by_memory=ceil(bytes_s * a.ttl_s / a.shard_bytes),
    )


def page(results: Results) -> str:
    """The page, in words and numbers."""
    i, a = inputs(results), Assumed()
    needs = [need(devices, i, a) for devices in DEVICES]

    def line(name: str, how: str, values: Sequence[float]) -> str:
        return f"| {name} | {how} | " + " | ".join(f"{value:,.0f}" for value in values) + " |"

    head = " | ".join(f"{devices:,} devices" for devices in DEVICES)
    rows = [
        line("sessions", f"devices / {a.devices_per_session}", [n.sessions for n in needs]),
        line("events/s", f"sessions x {EVENTS_PER_SESSION_SECOND}", [n.events_s for n in needs]),
        line("MB/s of media", f"events/s x {i.event_bytes:,.0f} B", [n.bytes_s / 1e6 for n in needs]),
        line("windows/s", f"sessions x {a.windows_per_session_s:g}", [n.windows_s for n in needs]),
        line("cores for aligners", f"events/s x {i.aligner_us} us / {a.busy}", [n.aligner_cores for n in needs]),
        line(
            "partitions, at least",
            f"8, or events/s x {i.aligner_us} us / {a.partition_cores}",
            [n.partitions for n in needs],
        ),
        line(
            "cores for fusion workers without a GPU",
            f"windows/s x {i.fusion_ms} ms / {a.busy}",
            [n.fusion_cores for n in needs],
        ),
        line("or GPUs", f"windows/s / ({a.gpu_windows_s:,.0f} x {a.busy})", [n.gpus for n in needs]),
        line("with cores beside the GPUs", f"windows/s x {i.beside_ms} ms / {a.busy}", [n.gpu_cores for n in needs]),
        line(
            "brokers by CPU",
            f"events/s x {i.broker_us} us x {a.copies} copies / ({a.broker_cores} cores x {a.busy})",
            [n.broker_by_cpu for n in needs],
        ),
        line(
            "brokers by network",
            f"MB/s x ({a.copies} copies + {a.readers} readers) / ({a.broker_bytes_s / 1e6:,.0f} MB/s x {a.busy})",
            [n.broker_by_wire for n in needs],
        ),
        line("**brokers**", "the larger; at least 3 beyond a home", [n.brokers for n in needs]),
        line("Redis shards by CPU", f"events/s x {i.redis_us} us / {a.busy}", [n.shards_by_cpu for n in needs]),
        line(
            "Redis shards by memory",
            f"MB/s x {a.ttl_s} s / {a.shard_bytes / 1e9:g} GB",
            [n.shards_by_memory for n in needs],
        ),
        line("**Redis shards**", "the larger", [n.shards for n in needs]),
    ]
    return "\n".join(
        [
            "# Capacity: hardware for many devices",
            "",
            "Computed by `make bench` from [its rows](results/bench.md). Costs are CPU time on the machine that the rows name; "
            "run `make bench` on yours.",
            "Every process scales by partitions; none depends on another of its kind.",
            "",
            f"Measured: an event costs the aligner {i.aligner_us} us, the broker {i.broker_us} us and Redis {i.redis_us} us "
            f"of CPU (class A, backlog, {i.event_bytes:,.0f} bytes an event);",
            f"a window costs a fusion worker {i.fusion_ms} ms with the shipped model on CPU, {i.beside_ms} ms where a device "
            "does the inference (class B). Final windows only: early predictions are the first to be left out under load.",
            "",
            f"Assumed: {a.devices_per_session} devices in a session and {EVENTS_PER_SESSION_SECOND} records a second of it; "
            f"at most {a.busy:.0%} busy; brokers of {a.broker_cores} cores and 10 Gbit/s, {a.copies} copies of each "
            f"record,",
            f"{a.readers} readers of media; Redis keeps {a.ttl_s} s in shards of {a.shard_bytes / 1e9:g} GB; a GPU answers "
            f"{a.gpu_windows_s:,.0f} windows/s of 32 million parameters with cached encoders ([measured](results/gpu-cuda.md) on two "
            "cards, from inputs in memory).",
            "",
            f"| | how | {head} |",
            "|---|---|" + "---:|" * len(DEVICES),
            *rows,
            "",
            "If the network is the limit, let devices send less: one frame per second instead of two, or audio only when there "
            "is any. A silent session costs nothing",
            "but the record of its last emitted window.",
            "",
        ]
    )


def main() -> int:
    try:
        PAGE.write_text(page(read(RESULTS)))
    except LookupError as why:
        sys.stderr.write(f"{why.args[0]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
