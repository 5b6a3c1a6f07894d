"""A newer checkpoint beside the one that serves: looked for, loaded elsewhere, refused where it is not whole."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from model.checkpoint import CheckpointError, resolve_checkpoint
from services.fusion.hot_reload import CheckpointReloader
from services.fusion.inference import Inference

EVERY_US = 1_000_000
NEVER_US = 1 << 62


def version(models: Path, name: str, content: str = "whole") -> Path:
    folder = models / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sha256").write_text(content)
    return folder


class Loads:
    """Records each loaded folder and its thread count; fails on `broken` content; waits for `go`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int | None]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, folder: Path, threads: int | None) -> Inference:
        assert self.go.wait(20)
        self.calls.append((folder.name, threads))
        if (folder / "sha256").read_text() == "broken":
            raise CheckpointError("not whole")
        return cast(Inference, SimpleNamespace(name=folder.name, model=SimpleNamespace(threads=1)))


def poll_until(reload: CheckpointReloader, done: Any) -> tuple[Inference | None, int]:
    """Poll in the time of the reloader until it returns a checkpoint or `done` is true."""
    for step in range(1, 100_000):
        now_us = step * EVERY_US
        reloaded = reload.poll(now_us)
        if reloaded is not None or done():
            return reloaded, now_us
        threading.Event().wait(0.001)
    raise AssertionError("never done")


def test_the_newest_version_of_a_folder_serves_by_number(tmp_path: Path) -> None:
    for name in ("9", "10", "2"):
        version(tmp_path, name)
    (tmp_path / "11").mkdir()  # its sums are not written yet
    assert resolve_checkpoint(tmp_path).name == "10"
    assert resolve_checkpoint(tmp_path / "2").name == "2"
    assert resolve_checkpoint(tmp_path / "11") == tmp_path / "11"


def test_a_newer_version_serves_once_it_is_loaded(tmp_path: Path) -> None:
    version(tmp_path, "1")
    loads = Loads()
    reload = CheckpointReloader(tmp_path, loads, EVERY_US)
    assert cast(Any, reload.load_first()).name == "1"
    assert reload.poll(0) is None
    version(tmp_path, "2", "whole too")
    loads.go.clear()
    assert reload.poll(EVERY_US) is None
    assert reload.poll(EVERY_US * 2) is None
    loads.go.set()
    reloaded, _ = poll_until(reload, lambda: False)
    assert cast(Any, reloaded).name == "2"
    assert loads.calls == [("1", None), ("2", 1)]
    assert (reload.served, reload.refused) == (1, 0)
    reload.close()


def test_an_incomplete_version_is_rejected_once_and_the_next_one_is_loaded(tmp_path: Path) -> None:
    version(tmp_path, "1")
    loads = Loads()
    reload = CheckpointReloader(tmp_path, loads, EVERY_US)
    reload.load_first()
    version(tmp_path, "2", "broken")
    reloaded, now_us = poll_until(reload, lambda: reload.refused)
    assert reloaded is None
    for later in range(1, 20):
        assert reload.poll(now_us + later * EVERY_US) is None
    assert len(loads.calls) == 2
    version(tmp_path, "2", "repaired")
    reloaded, _ = poll_until(reload, lambda: False)
    assert cast(Any, reloaded).name == "2"
    reload.close()


def test_nothing_is_read_between_two_polls_and_an_interval_of_0_never_polls(tmp_path: Path) -> None:
    version(tmp_path, "1")
    reload = CheckpointReloader(tmp_path, Loads(), EVERY_US)
    reload.load_first()
    reload.poll(0)
    assert reload.next_poll_us(NEVER_US) == EVERY_US
    version(tmp_path, "2", "newer")
    assert reload.poll(EVERY_US - 1) is None
    assert reload.next_poll_us(NEVER_US) == EVERY_US
    never = CheckpointReloader(tmp_path, Loads(), 0)
    assert never.next_poll_us(NEVER_US) == NEVER_US
    assert never.poll(NEVER_US) is None
