"""Class B with the stub device: the peers that serve by HTTP. Braid serves the same stub through Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.device_load import EVENTS_PER_SESSION_SECOND
from benchmarks.peer_environments import Progress, package_versions, peer_python
from benchmarks.process_sampler import ProcessSampler
from benchmarks.results import BenchmarkRow, percentiles
from benchmarks.shipped_streams import STUB_CASE, STUB_ENVIRONMENT
from benchmarks.systems import ROOT
from benchmarks.whole_system import RunFailed, run_for_report
from services.local.ports import free_ports, is_listening
from services.local.process import ChildProcess
from services.local.stack import LocalStack

START_TIMEOUT_S = 90.0
WINDOW_COUNT = 3_000


@dataclass(frozen=True, slots=True)
class HttpPeer:
    """A peer that serves by HTTP: its environment and module, and the path of its predictions."""

    name: str
    module: str
    path: str


HTTP_PEERS = (
    HttpPeer("litserve", "benchmarks.peers.litserve_api", "/predict"),
    HttpPeer("mlserver", "benchmarks.peers.mlserver_model", "/v2/models/stub/infer"),
)


async def run_http_peer(stack: LocalStack, peer: HttpPeer, quick: bool, progress: Progress) -> BenchmarkRow:
    """Run a peer and request predictions, 64 at a time.

    Raises:
        RunFailed: A process ends, or the peer does not listen in time.
        InstallError: The peer's environment cannot be made.
    """
    python = peer_python(peer.name, progress)
    ports = free_ports(3)
    environment = {
        "PYTHONPATH": str(ROOT),
        "BENCH_FOLDER": str(stack.folder),
        "BENCH_PORT": str(ports[0]),
        "BENCH_PORTS": ",".join(map(str, ports)),
        **STUB_ENVIRONMENT,
    }
    server = ChildProcess(peer.name, stack.folder)
    server.start([str(python), "-m", peer.module], environment)
    try:
        await _wait_until_listening(server, ports[0])
        sampler = ProcessSampler({"system": [server.pid or 0]})
        sampler.start()
        url, count = f"http://127.0.0.1:{ports[0]}{peer.path}", WINDOW_COUNT // 5 if quick else WINDOW_COUNT
        client = ChildProcess(f"{peer.name}-client", stack.folder)
        report = await run_for_report(client, "benchmarks.http_client", [url, peer.name, str(count)])
        sampler.stop()
    finally:
        await server.stop(10)
        assert server.pid is not None
        # Processes that LitServe starts outlive it; all of them are in the session of the child.
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
    return _build_row(peer, package_versions(str(python), (peer.name,)), report, sampler)


async def _wait_until_listening(server: ChildProcess, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_listening(port):
        if not server.running or time.monotonic() > deadline:
            raise RunFailed(f"{server.name} does not listen:\n{server.log_tail()}")
        await asyncio.sleep(0.2)


def _build_row(
    peer: HttpPeer, versions: dict[str, str], report: dict[str, Any], sampler: ProcessSampler
) -> BenchmarkRow:
    waits = report["waits"]
    if len(waits) < 10:
        raise RunFailed(f"only {len(waits)} predictions")
    begin_ms, end_ms, windows = waits[0][0], waits[-1][0], len(waits)
    events, seconds = windows * EVENTS_PER_SESSION_SECOND, (waits[-1][0] - waits[0][0]) / 1000
    cpu_s = sampler.cpu_s("system", begin_ms, end_ms)
    return BenchmarkRow(
        case=STUB_CASE,
        system=peer.name,
        versions=versions,
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
        wrong=report["wrong"],
        missing=report["missing"],
        copies=0,
        troubles=0,
        checked=windows,
        cannot="windows with their payloads come by HTTP; nothing is decoded, explained or stored; "
        "latency with 64 in flight",
    )
