"""From a set to a calibrated model whose training gave away no more of a row than it says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.calibrate import cell_scores, conformal_threshold, fit_experts, fit_subsets, validation_draws
from model.data.example import Examples
from model.data.tridigit import Tridigit
from model.fit import Built, config_of
from model.recipe import TaskRecipe
from model.vocabulary import lexicon_for
from research.privacy.sgd import PrivateRecipe, Report, Row, Spent, rows_of, start, train

# What epsilon covers and what it does not, for the card of every private checkpoint.
COVERS = """It holds for each row of the training part by itself: its sentence, its photo and its recording, in all severities. A
person with several rows gives away several times as much. Only the heads are learned: encoders are fixed, words are those
of assistvec, the class prior is even. Not covered: the validation rows, which choose temperatures and thresholds, and
assistvec, whose public vectors were counted on sentences that tridigit's training rows are among. Draws and noise come
from a seed that is kept nowhere, so this training cannot be repeated to the byte."""


def build_private(
    data: Examples, vectors: Path, recipe: PrivateRecipe, secret: int, report: Report, rows: Row | None = None
) -> tuple[Built, Spent | None]:
    """Train privately and calibrate on validation; `rows`: the training rows where they are encoded already."""
    words, table = lexicon_for((), vectors, numbers=isinstance(data, Tridigit))
    trained = start(data, words, table.shape[1])
    rows = rows_of(data, trained, recipe.segments) if rows is None else rows
    spent = train(rows, trained, recipe, secret, report)
    seen = validation_draws(trained.network, trained.lexicon, data, recipe.segments)
    fit_experts(trained.network, seen)
    fit_subsets(trained.network, seen)
    cells, threshold = cell_scores(trained.network, seen), conformal_threshold(trained.network, seen)
    return Built(trained.network, trained.lexicon.words, [], threshold, {}, cells), spent


def private_config(
    built: Built, data: Examples, recipe: PrivateRecipe, spent: Spent | None, name: str, version: str
) -> dict[str, Any]:
    """The config of a checkpoint, with what was spent; the secret seed is not in it."""
    config = config_of(built, data, TaskRecipe(segments=recipe.segments, threads=recipe.threads), name, version)
    return config | {"recipe": asdict(recipe), "privacy": None if spent is None else asdict(spent)}


def covered(spent: Spent) -> str:
    """The section of a card."""
    return (
        f"\n## Privacy\nEpsilon {spent.epsilon:.2f} at delta {spent.delta:g} (Rényi accountant, noise {spent.noise:.2f}, "
        f"{spent.steps} steps, each row in a step with chance {spent.rate:.2f}).\n{COVERS}\n"
    )
