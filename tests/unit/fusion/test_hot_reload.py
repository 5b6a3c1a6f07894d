"""A newer checkpoint beside the one that serves: looked for, loaded elsewhere, refused where it is not whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from model.checkpoint import load, save
from model.checkpoint_files import CARD, CHECKSUMS, CONFIG, WEIGHTS, CheckpointError, resolve_checkpoint
from services.fusion.hot_reload import CheckpointReloader, build_inference
from services.fusion.inference import Inference
from tests.unit.model.untrained import config as untrained_config
from tests.unit.model.untrained import network

EVERY_US = 1_000_000
DECISION = {"weight": 0.5, "on": 0.5, "off": 0.2, "since": 0.5}
DECISION |= dict.fromkeys(("change_us", "lead_us", "expires_us", "gap_us"), 1_000_000)
NEVER_US = 1 << 62


def config(**changed: Any) -> dict[str, Any]:
    return untrained_config(**{"decision": DECISION, **changed})


def load_served(folder: Path, threads: int | None) -> Inference:
    return build_inference(folder, lambda: load(folder, "cpu", threads), 1 << 20)


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
    assert reload.outcomes == {"served": 1, "refused": 0, "incomplete": 0}
    reload.close()


def test_an_incomplete_version_is_rejected_once_and_the_next_one_is_loaded(tmp_path: Path) -> None:
    version(tmp_path, "1")
    loads = Loads()
    reload = CheckpointReloader(tmp_path, loads, EVERY_US)
    reload.load_first()
    version(tmp_path, "2", "broken")
    reloaded, now_us = poll_until(reload, lambda: reload.outcomes["refused"])
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


def test_a_version_whose_checksums_arrive_before_its_weights_serves_once_it_is_whole(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    save(whole, network(), config(), "")
    models = tmp_path / "models"
    shutil.copytree(whole, models / "1")
    reload = CheckpointReloader(models, load_served, EVERY_US)
    reload.load_first()
    save(tmp_path / "newer", network(seed=4), config(version="2"), "")
    (models / "2").mkdir()
    for name in (CHECKSUMS, CONFIG, CARD):
        shutil.copy(tmp_path / "newer" / name, models / "2" / name)
    poll_until(reload, lambda: reload.outcomes["incomplete"])
    weights = (tmp_path / "newer" / WEIGHTS).read_bytes()
    (models / "2" / WEIGHTS).write_bytes(weights[:1_000])
    poll_until(reload, lambda: reload.outcomes["incomplete"] == 2)
    (models / "2" / WEIGHTS).write_bytes(weights)
    reloaded, _ = poll_until(reload, lambda: False)
    assert reloaded is not None
    assert reloaded.model.version == "2"
    assert reload.outcomes == {"served": 1, "refused": 0, "incomplete": 2}
    reload.close()


def write(folder: Path, weights: bytes, config_bytes: bytes) -> None:
    """Write a checkpoint whose checksums are right, whatever it holds."""
    folder.mkdir()
    files = {WEIGHTS: weights, CONFIG: config_bytes, CARD: b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / CHECKSUMS).write_text("".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in files.items()))


def with_nan(state: Mapping[str, Tensor]) -> bytes:
    name = next(iter(state))
    return save_tensors({**state, name: torch.full_like(state[name], float("nan"))})


STATE = {name: tensor.contiguous() for name, tensor in network().state_dict().items()}
GOOD = save_tensors(STATE)
WRONG: Mapping[str, tuple[bytes, Any]] = {
    "no safetensors": (b"\xff" * 100, config()),
    "empty weights": (b"", config()),
    "huge header": (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", config()),
    "other shapes": (save_tensors({name: torch.zeros(3) for name in STATE}), config()),
    "other names": (save_tensors({"x": torch.zeros(1)}), config()),
    "nan weights": (with_nan(STATE), config()),
    "no object": (GOOD, []),
    "labels of other types": (GOOD, config(labels=[1, None, {}])),
    "other number of labels": (GOOD, config(labels=["a"])),
    "huge batch": (GOOD, config(batch_windows=10**12)),
    "no batch": (GOOD, config(batch_windows=0)),
    "huge vector": (GOOD, config(vector_size=10**12)),
    "huge window": (GOOD, config(segments_per_window=10**12)),
    "words of other types": (GOOD, config(words=[[]] * 7)),
    "nan threshold": (GOOD, config(conformal=float("nan"))),
    "thresholds of other types": (GOOD, config(decision={"on": "high"})),
    "missing thresholds": (GOOD, config(decision={})),
    "unknown modality": (GOOD, config(architecture={"modalities": ["smell"], "fusion": "poe"})),
    "negative segments of a sample": (GOOD, config(segments_per_sample=-1)),
    "architecture of another type": (GOOD, config(architecture=["x"])),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_version_with_right_checksums_and_wrong_content_is_refused_and_the_old_one_stays(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "1", network(), config(), "")
    reload = CheckpointReloader(tmp_path, load_served, EVERY_US)
    assert reload.load_first().model.version == "1"
    weights, wrong = WRONG[name]
    write(tmp_path / "2", weights, json.dumps(wrong).encode())
    reloaded, _ = poll_until(reload, lambda: reload.outcomes["refused"])
    assert reloaded is None
    assert cast(Any, caplog.records[-1]).why
    with pytest.raises(CheckpointError):
        load_served(tmp_path / "2", None)
    reload.close()
