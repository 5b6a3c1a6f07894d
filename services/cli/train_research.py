"""The trainings of `braid train` that need the research code: with differential privacy, and of several tasks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from services.cli import output
from services.cli.train import losses_of, summary_of

CARD = """# {name} {version}

Several tasks over shared encoders, each with a head of its own: {tasks}. {parameters} parameters.
Made by `braid train --task several` with the recipe in config.json, in {seconds:.0f} s.

## Data
tridigit (`train`, calibrated on `val`) for digits and intents; homesound10 for sounds, calibrated on fold 2. The `test`
rows of tridigit chose nothing; `braid study several` compares with models of one task on rows that neither saw.

## Results on validation
| task | modalities | accuracy | NLL |
|---|---|---|---|
{cells}

## Limits
As those of the models of one task: a few voices, hands and recordings. Not for anything on which safety depends.

## Licence
Weights CC BY-SA 4.0, as the largest part of what they were trained on (see data/README.md).
"""


def train_private(name: str, root: Path, out: Path, epsilon: float, delta: float) -> dict[str, Any]:
    """Train with differential privacy and write the checkpoint; its config, card and summary state the budget spent.

    Args:
        name: tridigit, or the path of a manifest.
        root: The folder of the data sets.
        out: The folder of the checkpoint.
        epsilon: The privacy budget of each row.
        delta: The probability that the budget does not hold.
    """
    from model.card import render_card
    from model.checkpoint import save
    from model.data.manifest_set import ManifestSet
    from model.data.registry import read_set
    from model.data.tridigit import Tridigit
    from research.privacy.dp_sgd import PrivateRecipe
    from research.privacy.fit import fit_private, privacy_section, private_config

    data = read_set(name, root)
    if not isinstance(data, Tridigit | ManifestSet):
        raise output.UsageError(f"{name} has no validation rows to calibrate on.", do="Give tridigit or a manifest.")
    rows = len(data.samples("train", "clean"))
    if delta >= 1 / rows:
        raise output.UsageError(f"--private-delta {delta:g} promises nothing.", f"It must be below 1 / {rows} rows.")
    segments = data.segments if isinstance(data, ManifestSet) else 4
    recipe, began = PrivateRecipe(epsilon, delta, segments=segments), time.monotonic()
    with output.progress() as update:

        def report(step: int, point: Mapping[str, float]) -> None:
            update("training", step, recipe.steps, losses_of(point))

        vectors = root / "assistvec" / "vectors.npz"
        try:
            built, spent = fit_private(data, vectors, recipe, secrets.randbits(63), report)
        except ValueError as error:
            raise output.UsageError("This private training is not possible.", str(error)) from error
    assert spent is not None
    seconds = time.monotonic() - began
    parameters = sum(p.numel() for p in built.network.parameters())
    config = private_config(built, data, recipe, spent, out.parent.name, out.name)
    shown = config | {"recipe": config["recipe"] | {"seed": "not stored"}}
    digest = save(
        out, built.network, config, render_card(shown, parameters, seconds, built.cells) + privacy_section(spent)
    )
    return summary_of(out, digest, parameters, seconds, built.cells) | {"privacy": asdict(spent)}


def train_several(root: Path, out: Path, epochs: int | None, seed: int) -> dict[str, Any]:
    """Train digit, sound and intent heads over shared encoders, and write one checkpoint for all three."""
    from model.checkpoint import join_state_dicts, save_state_dict
    from model.streams.train import write_curve
    from research.multitask.study import RECIPE, STEPS, multitask_config, shipped_tasks
    from research.multitask.train import fit_tasks, shared_lexicon

    recipe, began = replace(RECIPE, epochs=epochs or RECIPE.epochs, seed=seed), time.monotonic()
    tasks = shipped_tasks(root)
    words, embeddings = shared_lexicon(tasks, root / "assistvec" / "vectors.npz")
    with output.progress() as update:

        def report(epoch: int, point: Mapping[str, float]) -> None:
            update("training", epoch, recipe.epochs, losses_of(point))

        built = fit_tasks(tasks, words, embeddings, recipe, STEPS, report)
    seconds = time.monotonic() - began
    networks = {name: task.network for name, task in built.items()}
    parameters = sum({p: p.numel() for network in networks.values() for p in network.parameters()}.values())
    scores = {f"{name} {subset}": cell for name, task in built.items() for subset, cell in task.cells.items()}
    lines = "\n".join(
        f"| {' | '.join(name.split())} | {cell['accuracy']:.3f} | {cell['nll']:.3f} |" for name, cell in scores.items()
    )
    card = CARD.format(
        name=out.parent.name,
        version=out.name,
        tasks=", ".join(tasks),
        parameters=parameters,
        seconds=seconds,
        cells=lines,
    )
    config = multitask_config(built, tasks, recipe, out.parent.name, out.name)
    digest = save_state_dict(out, join_state_dicts(networks), config, card)
    write_curve(out / "curve.jsonl", next(iter(built.values())).curve)
    return summary_of(out, digest, parameters, seconds, scores)
