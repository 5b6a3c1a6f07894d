"""CPU time, memory and open files of process trees, sampled by the wall clock, which the broker's timestamps share."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psutil

INTERVAL_S = 0.1


class ProcessSample(NamedTuple):
    """The sums over all processes of a role: CPU seconds since their start, resident bytes, open files."""

    at_ms: float
    cpu_s: float
    rss: int
    files: int


class ProcessSampler(threading.Thread):
    """A thread that samples process trees until it is stopped.

    Args:
        roles: The root processes (pids) of each role.
        interval_s: Seconds between samples.
    """

    def __init__(self, roles: Mapping[str, Sequence[int]], interval_s: float = INTERVAL_S) -> None:
        super().__init__(daemon=True, name="sampler")
        self._roots = {role: [psutil.Process(pid) for pid in pids] for role, pids in roles.items()}
        self.samples: dict[str, list[ProcessSample]] = {role: [] for role in roles}
        self._stopped = threading.Event()
        self._interval_s = interval_s

    def run(self) -> None:
        """Sample until stopped."""
        while not self._stopped.wait(self._interval_s):
            for role, roots in self._roots.items():
                self.samples[role].append(_sample(roots))

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join()

    def cpu_s(self, role: str, begin_ms: float, end_ms: float) -> float:
        """Return the CPU seconds that a role used between two moments."""
        return _cpu_at(self.samples[role], end_ms) - _cpu_at(self.samples[role], begin_ms)

    def rss_mb(self, role: str, begin_ms: float, end_ms: float) -> float:
        """Return the largest resident memory of a role between two moments, in MB."""
        return max((s.rss for s in self.samples[role] if begin_ms <= s.at_ms <= end_ms), default=0) / 1e6


def _sample(roots: Sequence[psutil.Process]) -> ProcessSample:
    cpu_s, rss, files = 0.0, 0, 0
    for root in roots:
        try:
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for process in tree:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    cpu_s += times.user + times.system
                    rss += process.memory_info().rss
                    files += process.num_fds()
            except psutil.NoSuchProcess:
                continue
    return ProcessSample(time.time() * 1000, cpu_s, rss, files)


def _cpu_at(samples: Sequence[ProcessSample], at_ms: float) -> float:
    """Interpolate the CPU seconds at a moment between two samples."""
    n = bisect_right(samples, at_ms, key=lambda s: s.at_ms)
    if n == 0 or n == len(samples):
        return samples[min(n, len(samples) - 1)].cpu_s if samples else 0.0
    before, after = samples[n - 1], samples[n]
    share = (at_ms - before.at_ms) / (after.at_ms - before.at_ms)
    return before.cpu_s + share * (after.cpu_s - before.cpu_s)
