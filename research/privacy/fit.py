"""Fit a model with differential privacy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.calibrate import (
    draw_validation_set,
    fit_conformal_threshold,
    fit_expert_temperatures,
    fit_subset_temperatures,
    score_draws,
)
from model.data.example import Examples
from model.data.tridigit import Tridigit
from model.encoders.text import build_lexicon
from model.fit_and_calibrate import FittedModel, checkpoint_config
from model.recipe import TaskRecipe
from research.privacy.dp_sgd import (
    EncodedRows,
    PrivacySpent,
    PrivateRecipe,
    Report,
    encode_rows,
    initialize_heads,
    train_heads,
)

# The section of every private checkpoint's card on what epsilon covers.
COVERAGE_TEXT = """It holds for each row of the training part by itself: its sentence, its photo and its recording, in all severities. A
person with several rows gives away several times as much. Only the heads are learned: encoders are fixed, words are those
of assistvec, the class prior is even. Not covered: the validation rows, which choose temperatures and thresholds, and
assistvec, whose public vectors were counted on sentences that tridigit's training rows are among. Draws and noise come
from a seed that is not stored, so this training cannot be repeated to the byte."""


def fit_private(
    data: Examples, vectors: Path, recipe: PrivateRecipe, secret: int, report: Report, rows: EncodedRows | None = None
) -> tuple[FittedModel, PrivacySpent | None]:
    """Train privately and calibrate on validation; `rows` are the training rows if they are encoded already."""
    words, table = build_lexicon((), vectors, numbers=isinstance(data, Tridigit))
    trained = initialize_heads(data, words, table.shape[1])
    rows = encode_rows(data, trained, recipe.segments) if rows is None else rows
    spent = train_heads(rows, trained, recipe, secret, report)
    samples = draw_validation_set(trained.network, trained.lexicon, data, recipe.segments)
    fit_expert_temperatures(trained.network, samples)
    fit_subset_temperatures(trained.network, samples)
    cells, threshold = score_draws(trained.network, samples), fit_conformal_threshold(trained.network, samples)
    return FittedModel(trained.network, trained.lexicon.words, [], threshold, {}, cells), spent


def private_config(
    fitted: FittedModel, data: Examples, recipe: PrivateRecipe, spent: PrivacySpent | None, name: str, version: str
) -> dict[str, Any]:
    """Return the config of a checkpoint with the privacy spent; it does not contain the secret seed."""
    config = checkpoint_config(
        fitted, data, TaskRecipe(segments=recipe.segments, threads=recipe.threads), name, version
    )
    return config | {"recipe": asdict(recipe), "privacy": None if spent is None else asdict(spent)}


def privacy_section(spent: PrivacySpent) -> str:
    """Render the privacy section of a card."""
    return (
        f"\n## Privacy\nEpsilon {spent.epsilon:.2f} at delta {spent.delta:g} (Rényi accountant, noise {spent.noise:.2f}, "
        f"{spent.steps} steps, each row in a step with chance {spent.rate:.2f}).\n{COVERAGE_TEXT}\n"
    )
