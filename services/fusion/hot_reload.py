"""Load a newer checkpoint beside the one that serves, which goes on until the newer one is ready."""

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
    """Checks from time to time whether the path has another checkpoint than the one that serves.

    A checkpoint that cannot be loaded is rejected once and logged, and the old one stays. An interval (us) of 0 never
    checks.

    Attributes:
        refused: How many newer checkpoints could not be loaded.
        served: How many came to serve.
    """

    def __init__(self, path: Path, load: Callable[[Path, int | None], Inference], interval_us: int) -> None:
        self._path, self._load, self._interval_us = path, load, interval_us
        self._thread = ThreadPoolExecutor(1, "reload")
        self._loading: Future[Inference] | None = None
        self._known = b""
        self._next_us = 0
        self._threads: int | None = None
        self.refused, self.served = 0, 0

    def load_first(self) -> Inference:
        """Load the checkpoint that serves at the start.

        Raises:
            CheckpointError: It cannot be loaded.
        """
        folder = resolve_checkpoint(self._path)
        self._known = _sums(folder)
        inference = self._load(folder, None)
        # One thread count for the whole life of a process: it decides the last bits of the old model's predictions.
        self._threads = inference.model.threads
        return inference

    def next_poll_us(self, never_us: int) -> int:
        """Return when to poll again, on the monotonic clock (us)."""
        return self._next_us if self._interval_us else never_us

    def poll(self, now_us: int) -> Inference | None:
        """Return the newer model once it is loaded, else None at once; loading goes on in another thread."""
        if not self._interval_us or now_us < self._next_us:
            return None
        self._next_us = now_us + self._interval_us
        if self._loading is None:
            folder = resolve_checkpoint(self._path)
            sums = _sums(folder)
            if sums and sums != self._known:
                self._known = sums
                self._loading = self._thread.submit(self._load, folder, self._threads)
        newer = self._loaded()
        if self._loading is not None:
            self._next_us = now_us + WHILE_LOADING_US
        return newer

    def close(self) -> None:
        """Stop loading."""
        self._thread.shutdown(cancel_futures=True)

    def _loaded(self) -> Inference | None:
        if self._loading is None or not self._loading.done():
            return None
        done, self._loading = self._loading, None
        try:
            inference = done.result()
        except (CheckpointError, OSError) as error:
            self.refused += 1
            _log.error("a newer checkpoint cannot be served; the old one stays", extra={"why": str(error)})
            return None
        self.served += 1
        return inference


def _sums(folder: Path) -> bytes:
    """The file of checksums, which identifies all bytes of a checkpoint; empty if there is none."""
    try:
        return (folder / CHECKSUMS).read_bytes()
    except OSError:
        return b""
