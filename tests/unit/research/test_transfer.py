"""Sounds trained on titles: the loss, vectors of unlisted words, and held-out classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from model.data.example import Example
from model.data.homesound10 import Homesound10
from research.sound_titles import evaluate_unseen_classes
from research.sound_titles.train_contrastive import (
    SoundNetwork,
    TitleVectors,
    TransferRecipe,
    embed_sounds,
    info_nce,
    train_sound_network,
)
from services.runtime.settings import ROOT

TITLES = TitleVectors(ROOT / "data" / "assistvec" / "vectors.npz")


def tone(pitch: float, title: str, seed: int, label: int = 0) -> Example:
    rng = np.random.default_rng(seed)
    sound = 0.3 * np.sin(2 * np.pi * pitch * np.arange(6_000) / 8_000) + rng.normal(0, 0.02, 6_000)
    return Example(f"t{seed}", label, title, None, sound.astype(np.float32))


def test_a_word_without_a_vector_is_near_its_other_forms() -> None:
    sneeze, sneezing, rain, nothing = TITLES(["sneeze", "Sneezing 03", "rain", "1234"])
    assert float(sneeze @ sneezing) > 0.3 > float(sneeze @ rain)
    assert np.linalg.norm(rain) == pytest.approx(1)
    assert not nothing.any()


def test_the_loss_is_chance_for_equal_embeddings_and_low_for_matching_pairs() -> None:
    scale = torch.tensor(3.0)
    alone = torch.eye(4)
    assert float(info_nce(torch.ones(4, 4) / 2, alone, scale)) == pytest.approx(math.log(4), abs=1e-5)
    assert float(info_nce(alone, alone, scale)) < 1e-3
    assert float(info_nce(alone.roll(1, 0), alone, scale)) > 5


def test_equal_titles_are_correct_matches() -> None:
    twice = torch.eye(4)[[0, 0, 1, 2]]
    best = math.log(2) / 2  # of four rows two share their title, each can only be half right
    assert float(info_nce(twice, twice, torch.tensor(4.0))) == pytest.approx(best, abs=1e-3)


def test_sounds_are_embedded_near_their_titles_deterministically() -> None:
    clips = [tone(300 + 10 * n, "old clock", n) for n in range(4)]
    clips += [tone(1_500 + 10 * n, "heavy rain", 20 + n) for n in range(4)]
    recipe = TransferRecipe(epochs=6, repeats=2, batch_size=8)
    network = train_sound_network(clips, TITLES, recipe)
    unheard = [tone(335, "", 90), tone(1_535, "", 91)]
    scores = embed_sounds(network, unheard).numpy() @ TITLES(["old clock", "heavy rain"]).T
    assert scores.argmax(1).tolist() == [0, 1]
    repeated = train_sound_network(clips, TITLES, recipe)
    assert torch.equal(embed_sounds(repeated, unheard), embed_sounds(network, unheard))


def test_each_class_is_held_out_once() -> None:
    folds = evaluate_unseen_classes.class_folds(10, seed=3)
    assert sorted(n for fold in folds for n in fold) == list(range(10))
    assert {len(fold) for fold in folds} == {evaluate_unseen_classes.HELD_CLASSES}


def test_training_has_no_clip_of_a_held_out_class_or_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Homesound10(ROOT / "data" / "homesound10")
    trainings: list[Sequence[Example]] = []

    def record_clips(
        clips: Sequence[Example], titles: TitleVectors, recipe: TransferRecipe, report: object
    ) -> SoundNetwork:
        trainings.append(clips)
        return SoundNetwork(TITLES.size)

    def nowhere(network: SoundNetwork, examples: list[Example]) -> torch.Tensor:
        return torch.zeros(len(examples), TITLES.size)

    monkeypatch.setattr(evaluate_unseen_classes, "train_sound_network", record_clips)
    monkeypatch.setattr(evaluate_unseen_classes, "embed_sounds", nowhere)
    scores = evaluate_unseen_classes.score_unseen_classes(data, TITLES, TransferRecipe(), (1,), lambda *_: None)
    assert scores[0].chance == 0.5
    assert {s.count for s in scores} == {290}
    for clips, held_out in zip(trainings, evaluate_unseen_classes.class_folds(10, 1), strict=True):
        assert {c.label for c in clips} == set(range(10)) - set(held_out)
    trainings.clear()
    evaluate_unseen_classes.score_unseen_recordings(data, TITLES, TransferRecipe(), (1,), lambda *_: None)
    assert sum(290 - len(clips) for clips in trainings) == 290


def test_retrieval_counts_the_nearest_sound_and_no_ties() -> None:
    torch.manual_seed(2)
    network = SoundNetwork(TITLES.size)
    clips = [tone(300, "clock", 1), tone(300, "clock", 1), tone(2_000, "rain", 2)]
    hits = evaluate_unseen_classes.score_retrieval(network, TITLES, clips)
    assert not hits[1][:2].any()
    assert hits[5].all()
