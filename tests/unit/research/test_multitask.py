"""Several tasks over shared encoders in one checkpoint, each with its own head."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from safetensors.torch import load as load_tensors

from model.checkpoint import checkpoint_tasks, join_state_dicts, load, save_state_dict
from model.checkpoint_files import CheckpointError
from model.data.degradations import Severity
from model.data.example import Example
from model.data.homesound10 import Homesound10
from model.data.splits import read_jsonl
from model.encoders.text import Lexicon
from model.fit_and_calibrate import FittedModel
from model.predict_files import predict_examples
from model.recipe import TaskRecipe
from model.tensors import collate_examples, compute_branches
from research.multitask.study import INTENTS, Intents, SoundFolds, multitask_config
from research.multitask.train import Task, branch_losses, fit_tasks, joint_logits
from services.cli import main
from services.runtime.settings import ROOT
from tests.unit.model.small_set import WORDS, SmallSet, table

RECIPE = TaskRecipe(fusion="experts", epochs=12, batch_size=8, seed=3)


class Words(SmallSet):
    """The same samples the other way round, and only their words: another task with labels of its own."""

    name = "words"
    labels = ("up", "down")
    modalities = ("text",)  # type: ignore[assignment]

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        return [_turned(e) for e in super().epoch(rng, ease)]

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        return [_turned(e) for e in super().drawn(severity, rng)]


def _turned(example: Example) -> Example:
    return replace(example, label=1 - example.label, video=None, audio=None)


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    return {"small": Task(SmallSet(), (), 8, 4), "words": Task(Words(), (), 8, 4)}


@pytest.fixture(scope="module")
def built(tasks: dict[str, Task]) -> dict[str, FittedModel]:
    return fit_tasks(tasks, WORDS, table(), RECIPE, 4, lambda *_: None)


@pytest.fixture(scope="module")
def folder(built: dict[str, FittedModel], tasks: dict[str, Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several") / "several" / "1"
    networks = {name: fitted_task.network for name, fitted_task in built.items()}
    save_state_dict(path, join_state_dicts(networks), multitask_config(built, tasks, RECIPE, "several", "1"), "")
    return path


def test_each_task_has_its_head_and_all_share_their_encoders(built: dict[str, FittedModel], folder: Path) -> None:
    small, words = built["small"].network, built["words"].network
    assert small.encoders["text"] is words.encoders["text"]
    assert small.heads["text"] is not words.heads["text"]
    names = set(load_tensors((folder / "model.safetensors").read_bytes()))
    assert "shared.encoders.text.learned.weight" in names
    assert {name.split(".")[0] for name in names if ".heads." in name} == {"small", "words"}


def test_a_checkpoint_of_several_tasks_serves_each(folder: Path) -> None:
    assert checkpoint_tasks(folder) == ("small", "words")
    examples: Sequence[Example] = SmallSet().samples("test", "clean")
    right = [e.label for e in examples]
    small, words = load(folder, "cpu", task="small"), load(folder, "cpu", task="words")
    assert predict_examples(small, examples)[:, -1].argmax(1).tolist() == right
    assert predict_examples(words, examples)[:, -1].argmax(1).tolist() == [1 - label for label in right]
    assert (small.labels, words.labels) == (("low", "high"), ("up", "down"))
    assert words.modalities == ("text",)


def test_a_task_that_the_checkpoint_does_not_have_is_refused_by_name(folder: Path) -> None:
    for task in (None, "other"):
        with pytest.raises(CheckpointError, match="holds the tasks small, words"):
            load(folder, "cpu", task=task)


def test_predict_batch_uses_the_head_of_each_rows_task(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, results_file = tmp_path / "manifest.jsonl", tmp_path / "out.jsonl"
    lines = [{"id": task, "task": task, "text": "the low tone"} for task in ("small", "words", "other")]
    manifest.write_text("\n".join(json.dumps(line) for line in lines))
    monkeypatch.setattr(
        sys, "argv", ["braid", "predict-batch", str(folder), "--manifest", str(manifest), "--out", str(results_file)]
    )
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    small, words, other = (json.loads(line) for line in results_file.read_text().splitlines())
    assert (small["label"], words["label"]) == ("low", "down")
    assert "knows the tasks small, words" in other["error"]


def test_joint_encoding_gives_the_logits_of_each_network_alone(
    built: dict[str, FittedModel], tasks: dict[str, Task]
) -> None:
    networks = {name: network_alone.network.eval() for name, network_alone in built.items()}
    lexicon = Lexicon(WORDS)
    batches = {
        name: collate_examples(task.data.drawn("clean", np.random.default_rng(1)), task.data.modalities, lexicon, 4)
        for name, task in tasks.items()
    }
    together = joint_logits(networks, batches, lambda spectrum: spectrum)
    for name, network in networks.items():
        alone = network.expert_logits(compute_branches(network, batches[name])[0])
        torch.testing.assert_close(together[name], alone, atol=1e-5, rtol=1e-4)
        assert float(branch_losses(alone.detach(), batches[name], 0.0)) < 1.5


def test_intents_and_splits_come_from_the_manifest() -> None:
    folder = ROOT / "data" / "tridigit"
    data, rows_of_manifest = Intents(folder), list(read_jsonl(folder / "manifest.jsonl"))
    for part in ("train", "val", "test"):
        examples = data.samples(part, "harsh")
        assert [(e.id, INTENTS[e.label], e.text) for e in examples] == [
            (r["id"], r["intent"], r["harsh"]["text"]) for r in rows_of_manifest if r["split"] == part
        ]
    assert {e.id for e in data.epoch(np.random.default_rng(0))} == {
        r["id"] for r in rows_of_manifest if r["split"] == "train"
    }


def test_sound_folds_share_no_clip() -> None:
    data = SoundFolds(Homesound10(ROOT / "data" / "homesound10"), (2,), (1,))
    parts = [{e.id for e in data.samples(part, "clean")} for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 290
    assert {e.id for e in data.epoch(np.random.default_rng(0))} <= parts[0]
    with pytest.raises(ValueError, match="either"):
        SoundFolds(Homesound10(ROOT / "data" / "homesound10"), (2,), (1, 2))
