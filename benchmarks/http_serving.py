"""Class B with the stub device: the peers that serve by HTTP. (Braid's own row: the same stub, windows by Kafka.)"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.alignment_run import RunFailed
from benchmarks.device_load import EVENTS_PER_SESSION_SECOND
from benchmarks.peer_environments import Progress, package_versions, peer_python
from benchmarks.process_sampler import ProcessSampler
from benchmarks.results import BenchmarkRow, percentiles
from benchmarks.shipped_streams import STUB_CASE, STUB_ENVIRONMENT
from benchmarks.systems import ROOT
from services.local.ports import free_ports, listening
from services.local.process import Child
from services.local.stack import LocalStack

UP_WITHIN_S = 90.0
COUNT = 3_000


@dataclass(frozen=True, slots=True)
class HttpPeer:
    """A peer that serves by HTTP: its environment and module, and where it answers."""

    name: str
    module: str
    path: str


HTTP_PEERS = (
    HttpPeer("litserve", "benchmarks.peers.litserve_api", "/predict"),
    HttpPeer("mlserver", "benchmarks.peers.mlserver_model", "/v2/models/stub/infer"),
)


async def run(stack: LocalStack, server: HttpPeer, quick: bool, say: Progress) -> BenchmarkRow:
    """One run: as many windows as it takes, 64 in flight. Raises Failed, InstallError."""
    python = peer_python(server.name, say)
    ports = free_ports(3)
    environment = {
        "PYTHONPATH": str(ROOT),
        "BENCH_FOLDER": str(stack.folder),
        "BENCH_PORT": str(ports[0]),
        "BENCH_PORTS": ",".join(map(str, ports)),
        **STUB_ENVIRONMENT,
    }
    child = Child(server.name, stack.folder)
    child.start([str(python), "-m", server.module], environment)
    try:
        await _listens(child, ports[0])
        sampler = ProcessSampler({"system": [child.pid or 0]})
        sampler.start()
        told = await _asked(stack, server, ports[0], COUNT // 5 if quick else COUNT)
        sampler.stop()
    finally:
        await child.stop(10)
        assert child.pid is not None
        # LitServe's own processes outlive it; all of them are in the session that the child began.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    return _row(server, package_versions(str(python), (server.name,)), told, sampler)


async def _listens(child: Child, port: int) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while not listening(port):
        if not child.running or time.monotonic() > deadline:
            raise RunFailed(f"{child.name} does not listen:\n{child.last_words()}")
        await asyncio.sleep(0.2)


async def _asked(stack: LocalStack, server: HttpPeer, port: int, count: int) -> dict[str, Any]:
    told, child = stack.folder / f"{server.name}.json", Child(f"{server.name}-asking", stack.folder)
    here = [f"http://127.0.0.1:{port}{server.path}", server.name, str(count), str(told)]
    child.start([sys.executable, "-m", "benchmarks.http_client", *here], dict(os.environ))
    try:
        code = await child.ended()
    finally:
        child.kill()
    if code != 0:
        raise RunFailed(f"asking ended with code {code}:\n{child.last_words()}")
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def _row(server: HttpPeer, found: dict[str, str], told: dict[str, Any], sampler: ProcessSampler) -> BenchmarkRow:
    waits = told["waits"]
    if len(waits) < 10:
        raise RunFailed(f"only {len(waits)} answers")
    begin_ms, end_ms, windows = waits[0][0], waits[-1][0], len(waits)
    events, seconds = windows * EVENTS_PER_SESSION_SECOND, (waits[-1][0] - waits[0][0]) / 1000
    cpu_s = sampler.cpu_s("system", begin_ms, end_ms)
    return BenchmarkRow(
        case=STUB_CASE,
        system=server.name,
        versions=found,
        sessions=8,
        workers=1,
        window="2 s / 0.5 s",
        seconds=seconds,
        events=events,
        windows=windows,
        events_per_s=events / seconds,
        windows_per_s=windows / seconds,
        cpu_us_per_event=cpu_s / events * 1e6,
        cpu_ms_per_window=cpu_s / windows * 1e3,
        broker_cpu_us_per_event=0,
        redis_cpu_us_per_event=0,
        bytes_per_event=0,
        rss_mb=sampler.rss_mb("system", begin_ms, end_ms),
        latency_ms=percentiles([ms for _, ms in waits]),
        behind_ms=0,
        wrong=told["wrong"],
        missing=told["missing"],
        copies=0,
        troubles=0,
        checked=windows,
        cannot="windows with their payloads come by HTTP and nothing is decoded, explained or kept: it only answers; "
        "latency with 64 in flight",
    )
