"""Write the model card of a task's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRAINING_DATA = {
    "tridigit": "Trained on the `train` rows of tridigit with fresh corruption each epoch, calibrated on `val`. The `test` "
    "rows were not used.",
    "homesound10": "Trained on all clips of homesound10; temperatures and threshold from cross-validation over the official "
    "groups fold 1, fold 2, folds 3+4.",
}
LICENCES = {
    "tridigit": "Weights CC BY-SA 4.0, as the largest part of the training data (see data/README.md).",
    "homesound10": "Weights CC BY 3.0, as the training clips (see data/README.md).",
}


def render_card(
    config: Mapping[str, Any], parameters: int, seconds: float, cells: Mapping[str, Mapping[str, float]]
) -> str:
    """Render the card as Markdown.

    Args:
        config: The config of the checkpoint.
        parameters: Number of learned weights.
        seconds: Duration of the training.
        cells: Validation scores by subset of modalities.
    """
    task, recipe = config["task"], config["recipe"]
    table = "\n".join(f"| {name} | {cell['accuracy']:.3f} | {cell['nll']:.3f} |" for name, cell in cells.items())
    return f"""# {config["name"]} {config["version"]}

Labels: {", ".join(config["labels"])}. Inputs: {", ".join(config["architecture"]["modalities"])}; any of them may be absent.
Fusion `{config["architecture"]["fusion"]}`, {parameters} parameters; audio at 8 kHz, images at 64 x 64 (JPEGs are decoded no
larger than that needs: `jpeg_side` {config["jpeg_side"]}), English sentences.

Made by `braid train --data {task}` with the recipe in config.json (seed {recipe["seed"]}), in {seconds:.0f} s.

## Data
{TRAINING_DATA.get(task, "Trained on the samples of a manifest.")}

## Results
On validation (with random corruption of all severities where the set defines it; by cross-validation where it has no
validation rows). `braid evaluate` scores every cell on the test rows.

| modalities | accuracy | NLL |
|---|---|---|
{table}

## Limits
The training data has few voices, hands and recordings. The model always predicts one of its labels: it was not trained on
samples of other kinds, and abstains only between its labels. Do not use it where safety depends on it.

## Licence
{LICENCES.get(task, "That of your data.")}
"""
