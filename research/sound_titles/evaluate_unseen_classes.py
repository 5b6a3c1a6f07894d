"""Evaluate the sound network on unseen classes and on unseen recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.example import Example
from model.data.homesound10 import GROUPS, Homesound10
from research.sound_titles.train_contrastive import (
    SoundNetwork,
    TitleVectors,
    TransferRecipe,
    embed_sounds,
    train_sound_network,
)

HELD_CLASSES = 2
TOP = (1, 5, 10)
Bools = NDArray[np.bool_]
Report = Callable[[str, int, float], None]


@dataclass(frozen=True, slots=True)
class TransferScore:
    """The share of `count` questions answered correctly, and the share by chance."""

    question: str
    right: float
    chance: float
    count: int


def class_folds(count: int, seed: int) -> list[tuple[int, ...]]:
    """Return the classes in random folds of HELD_CLASSES; each class is held out once."""
    order = [int(n) for n in np.random.default_rng(seed).permutation(count)]
    return [tuple(order[begin : begin + HELD_CLASSES]) for begin in range(0, count, HELD_CLASSES)]


def score_unseen_classes(
    data: Homesound10, titles: TitleVectors, recipe: TransferRecipe, seeds: Sequence[int], report: Report
) -> list[TransferScore]:
    """Score zero-shot: name held-out classes, among those held out and among all."""
    clips, names = data.hold_out(()).samples("train", "clean"), titles(class_names(data))
    among_held: list[Bools] = []
    among_all: list[Bools] = []
    retrieved: dict[int, list[Bools]] = {top: [] for top in TOP}
    sizes: list[int] = []
    for seed in seeds:
        for held_out in class_folds(len(data.labels), seed):
            name = " ".join(data.labels[n] for n in held_out)
            network = _train_fold([c for c in clips if c.label not in held_out], titles, recipe, seed, name, report)
            unseen = [c for c in clips if c.label in held_out]
            labels = np.array([c.label for c in unseen])
            scores = embed_sounds(network, unseen).numpy() @ names.T
            among_held.append(np.array(held_out)[scores[:, held_out].argmax(1)] == labels)
            among_all.append(scores.argmax(1) == labels)
            for top, hits in score_retrieval(network, titles, unseen).items():
                retrieved[top].append(hits)
            sizes += [len(unseen)] * len(unseen)
    return [
        _score("class named, of the 2 held out", among_held, 1 / HELD_CLASSES),
        _score("class named, of all 10", among_all, 1 / len(data.labels)),
        *(
            _score(f"title finds its sound, first {top}", retrieved[top], float(np.mean(top / np.array(sizes))))
            for top in TOP
        ),
    ]


def score_unseen_recordings(
    data: Homesound10, titles: TitleVectors, recipe: TransferRecipe, seeds: Sequence[int], report: Report
) -> list[TransferScore]:
    """Score recordings of held-out official folds: by class names and by their own titles; no labels are trained on."""
    names = titles(class_names(data))
    named: list[Bools] = []
    retrieved: dict[int, list[Bools]] = {top: [] for top in TOP}
    sizes: list[int] = []
    for seed in seeds:
        for number, group in enumerate(GROUPS):
            split = data.hold_out(group)
            name = f"group {number + 1}"
            network = _train_fold(split.samples("train", "clean"), titles, recipe, seed, name, report)
            held_out = split.samples("test", "clean")
            scores = embed_sounds(network, held_out).numpy() @ names.T
            named.append(scores.argmax(1) == np.array([c.label for c in held_out]))
            for top, hits in score_retrieval(network, titles, held_out).items():
                retrieved[top].append(hits)
            sizes += [len(held_out)] * len(held_out)
    return [
        _score("class named, of all 10", named, 1 / len(data.labels)),
        *(
            _score(f"title finds its sound, first {top}", retrieved[top], float(np.mean(top / np.array(sizes))))
            for top in TOP
        ),
    ]


def score_retrieval(network: SoundNetwork, titles: TitleVectors, clips: list[Example]) -> dict[int, Bools]:
    """Return whether each title's own sound is among the nearest `top`, bool [clips] by top; ties count as misses."""
    written = torch.from_numpy(titles([c.text or "" for c in clips]))
    scores = (written @ embed_sounds(network, clips).T).numpy()
    rank = (scores >= scores.diagonal()[:, None]).sum(1)
    return {top: rank <= top for top in TOP}


def class_names(data: Homesound10) -> list[str]:
    """Return the names of the classes as words."""
    return [label.replace("_", " ") for label in data.labels]


def _train_fold(
    clips: list[Example], titles: TitleVectors, recipe: TransferRecipe, seed: int, name: str, report: Report
) -> SoundNetwork:
    return train_sound_network(
        clips, titles, replace(recipe, seed=seed), lambda n, loss: report(f"{seed}: {name}", n, loss)
    )


def _score(question: str, hits: list[Bools], chance: float) -> TransferScore:
    all_hits = np.concatenate(hits)
    return TransferScore(question, round(float(all_hits.mean()), 4), round(chance, 4), len(all_hits))
