"""Reload: a newer checkpoint is loaded beside the one that serves, which goes on until the other is ready."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from model.checkpoint import CHECKSUMS, CheckpointError, resolve_checkpoint
from services.fusion.inference import Inference

WHILE_LOADING_US = 100_000
_log = logging.getLogger(__name__)


class CheckpointReloader:
    """Looks every so often whether the path means another checkpoint than the one that serves.

    every_us: 0 never looks. A checkpoint that cannot be loaded is refused once, logged, and the old one stays.
    refused, served: how many since the start.
    """

    def __init__(self, path: Path, load: Callable[[Path, int | None], Inference], every_us: int) -> None:
        self._path, self._load, self._every_us = path, load, every_us
        self._thread = ThreadPoolExecutor(1, "reload")
        self._loading: Future[Inference] | None = None
        self._known = b""
        self._next_us = 0
        self._threads: int | None = None
        self.refused, self.served = 0, 0

    def load_first(self) -> Inference:
        """Load what serves at the start. Raises CheckpointError."""
        folder = resolve_checkpoint(self._path)
        self._known = _sums(folder)
        found = self._load(folder, None)
        # One thread count for the whole life of a process: it decides the last bits of what the old one still answers.
        self._threads = found.model.threads
        return found

    def next_poll_us(self, never_us: int) -> int:
        """When to look again, on the monotonic clock."""
        return self._next_us if self._every_us else never_us

    def poll(self, now_us: int) -> Inference | None:
        """The newer one once it is loaded; returns at once, loading goes on elsewhere."""
        if not self._every_us or now_us < self._next_us:
            return None
        self._next_us = now_us + self._every_us
        if self._loading is None:
            folder = resolve_checkpoint(self._path)
            sums = _sums(folder)
            if sums and sums != self._known:
                self._known = sums
                self._loading = self._thread.submit(self._load, folder, self._threads)
        found = self._loaded()
        if self._loading is not None:
            self._next_us = now_us + WHILE_LOADING_US
        return found

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _loaded(self) -> Inference | None:
        if self._loading is None or not self._loading.done():
            return None
        done, self._loading = self._loading, None
        try:
            found = done.result()
        except (CheckpointError, OSError) as error:
            self.refused += 1
            _log.error("a newer checkpoint cannot be served; the old one stays", extra={"why": str(error)})
            return None
        self.served += 1
        return found


def _sums(folder: Path) -> bytes:
    """The file of sums, which names all of a checkpoint's bytes; empty where there is none."""
    try:
        return (folder / CHECKSUMS).read_bytes()
    except OSError:
        return b""
