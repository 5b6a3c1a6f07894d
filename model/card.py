"""Write the model card of a task's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRAINING_DATA = {
    "tridigit": "Trained on the `train` rows of tridigit with fresh corruption each epoch, calibrated on `val`. The `test` "
    "rows chose nothing.",
    "homesound10": "Trained on all clips of homesound10; temperatures and threshold from cross-validation over the official "
    "groups fold 1, fold 2, folds 3+4.",
}
LICENCES = {
    "tridigit": "Weights CC BY-SA 4.0, as the largest part of what they were trained on (see data/README.md).",
    "homesound10": "Weights CC BY 3.0, as the clips that they were trained on (see data/README.md).",
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

What it knows: {", ".join(config["labels"])}. From {", ".join(config["architecture"]["modalities"])}, any of them absent.
Fusion `{config["architecture"]["fusion"]}`, {parameters} parameters; sound at 8 kHz, pictures at 64 x 64, English sentences.

Made by `braid train --data {task}` with the recipe in config.json (seed {recipe["seed"]}), in {seconds:.0f} s.

## Data
{TRAINING_DATA.get(task, "Trained on samples of your own manifest.")}

## Results
On validation (corrupted afresh where the set has a law of corruption, all severities together; cross-validation where it
has no validation rows). `braid evaluate` gives every cell on the test rows.

| senses | accuracy | NLL |
|---|---|---|
{table}

## Limits
A few voices, hands and recordings are not everybody's. It always says one of its labels: it was never shown a sample
that is none of them, and abstains only where it is torn between them. Not for anything on which safety depends.

## Licence
{LICENCES.get(task, "That of your data.")}
"""
