"""CPU time and memory of process trees, ten times a second, by the wall clock that the broker also has."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psutil

EVERY_S = 0.1


class ProcessSample(NamedTuple):
    """All processes of a role together: CPU seconds since they started, resident bytes, open files."""

    at_ms: float
    cpu_s: float
    rss: int
    files: int


class ProcessSampler(threading.Thread):
    """Looks at the trees under the given processes until it is stopped; roles: pids by name of the role."""

    def __init__(self, roles: Mapping[str, Sequence[int]], every_s: float = EVERY_S) -> None:
        super().__init__(daemon=True, name="sampler")
        self._roots = {role: [psutil.Process(pid) for pid in pids] for role, pids in roles.items()}
        self.samples: dict[str, list[ProcessSample]] = {role: [] for role in roles}
        self._ended = threading.Event()
        self._every_s = every_s

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            for role, roots in self._roots.items():
                self.samples[role].append(_sample(roots))

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def cpu_s(self, role: str, begin_ms: float, end_ms: float) -> float:
        """CPU seconds that a role spent between two moments."""
        return _cpu_at(self.samples[role], end_ms) - _cpu_at(self.samples[role], begin_ms)

    def rss_mb(self, role: str, begin_ms: float, end_ms: float) -> float:
        """The most resident memory of a role between two moments."""
        found = [s.rss for s in self.samples[role] if begin_ms <= s.at_ms <= end_ms]
        return max(found, default=0) / 1e6


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
    """CPU seconds at a moment, between two samples in proportion."""
    n = bisect_right(samples, at_ms, key=lambda s: s.at_ms)
    if n == 0 or n == len(samples):
        return samples[min(n, len(samples) - 1)].cpu_s if samples else 0.0
    before, after = samples[n - 1], samples[n]
    share = (at_ms - before.at_ms) / (after.at_ms - before.at_ms)
    return before.cpu_s + share * (after.cpu_s - before.cpu_s)
