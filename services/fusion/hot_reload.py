"""Load a newer checkpoint beside the one that serves, which goes on until the newer one is ready."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from model.checkpoint_files import (
    CARD,
    CHECKSUMS,
    CONFIG,
    SUMS_BYTES_MAX,
    WEIGHTS,
    CheckpointError,
    IncompleteCheckpoint,
    resolve_checkpoint,
)
from model.predictor import ServedModel
from services.fusion.event_detector import EventDetector
from services.fusion.inference import Inference
from services.fusion.stage_values import FAILURES

WHILE_LOADING_US = 100_000
_log = logging.getLogger(__name__)


def build_inference(folder: Path, load: Callable[[], ServedModel], cache_bytes_max: int) -> Inference:
    """Load a model and prepare it to serve.

    Raises:
        CheckpointError: It cannot be loaded, fails on a window without inputs, or lacks thresholds of events.
    """
    try:
        model = load()
        EventDetector.of_model(model)
        return Inference(model, cache_bytes_max)
    except FAILURES as error:
        raise CheckpointError(
            f"The model in {folder} cannot be served.",
            f"It failed with {type(error).__name__}: {error}.",
            "Restore it, or train again.",
        ) from error


class FolderState(NamedTuple):
    """What a look into a checkpoint's folder shows; the checksums identify all bytes of a whole checkpoint."""

    folder: Path
    sums: bytes
    files: tuple[tuple[int, int] | None, ...]

    @classmethod
    def read(cls, path: Path) -> FolderState:
        """Read the checksums, and the size and time of change of each file, of the newest checkpoint under a path."""
        try:
            folder = resolve_checkpoint(path)
            with (folder / CHECKSUMS).open("rb") as file:
                sums = file.read(SUMS_BYTES_MAX)
        except OSError:
            return cls(path, b"", ())
        return cls(folder, sums, tuple(_size_and_time(folder / name) for name in (WEIGHTS, CONFIG, CARD)))


def _size_and_time(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


class CheckpointReloader:
    """Checks from time to time whether the path has another checkpoint than the one that serves.

    A checkpoint that cannot be loaded is logged, and the old one stays. It is tried again once its files have changed and
    stay as they are: a copy may write the checksums before the weights. An interval (us) of 0 never checks.

    Attributes:
        outcomes: How many newer checkpoints came to serve, were refused, or were incomplete.
    """

    def __init__(self, path: Path, load: Callable[[Path, int | None], Inference], interval_us: int) -> None:
        self._path, self._load, self._interval_us = path, load, interval_us
        self._thread = ThreadPoolExecutor(1, "reload")
        self._loading: Future[Inference] | None = None
        self._served_sums = b""
        # What was seen last, what is being loaded, and what could not be loaded.
        self._seen = self._tried = self._failed = FolderState(path, b"", ())
        self._next_us = 0
        self._threads: int | None = None
        self.outcomes = {"served": 0, "refused": 0, "incomplete": 0}

    def load_first(self) -> Inference:
        """Load the checkpoint that serves at the start.

        Raises:
            CheckpointError: It cannot be loaded.
        """
        state = FolderState.read(self._path)
        inference = self._load(state.folder, None)
        self._served_sums = state.sums
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
            state = FolderState.read(self._path)
            if self._is_to_load(state):
                self._tried = state
                self._loading = self._thread.submit(self._load, state.folder, self._threads)
            self._seen = state
        newer = self._loaded()
        if self._loading is not None:
            self._next_us = now_us + WHILE_LOADING_US
        return newer

    def close(self) -> None:
        """Stop loading."""
        self._thread.shutdown(cancel_futures=True)

    def _is_to_load(self, state: FolderState) -> bool:
        if not state.sums or state.sums == self._served_sums or state == self._failed:
            return False
        is_retry = (state.folder, state.sums) == (self._failed.folder, self._failed.sums)
        return not is_retry or state == self._seen

    def _loaded(self) -> Inference | None:
        if self._loading is None or not self._loading.done():
            return None
        done, self._loading = self._loading, None
        try:
            inference = done.result()
        # Whatever is wrong with a newer checkpoint, the one that serves is whole.
        except Exception as error:
            self._failed = self._tried
            outcome = "incomplete" if isinstance(error, IncompleteCheckpoint) else "refused"
            self.outcomes[outcome] += 1
            _log.error(
                "a newer checkpoint cannot be served; the old one stays until the files change",
                extra={
                    "outcome": outcome,
                    "folder": str(self._tried.folder),
                    "why": f"{type(error).__name__}: {error}",
                },
            )
            return None
        self._served_sums = self._tried.sums
        self.outcomes["served"] += 1
        return inference
