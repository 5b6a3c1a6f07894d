"""`braid train --task several`."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

CARD = """# {name} {version}

Several tasks over shared encoders, each with a head of its own: {tasks}. {parameters} parameters.
Made by `braid train --task several` with the recipe in config.json, in {seconds:.0f} s.

## Data
tridigit (`train`, calibrated on `val`) for digits and intents; homesound10 for sounds, calibrated on fold 2. The `test`
rows of tridigit chose nothing; `braid study several` compares with models of one task on what neither saw.

## Results on validation
| task | senses | accuracy | NLL |
|---|---|---|---|
{cells}

## Limits
As those of the models of one task: a few voices, hands and recordings. Not for anything on which safety depends.

## Licence
Weights CC BY-SA 4.0, as the largest part of what they were trained on (see data/README.md).
"""


def train_several(root: Path, out: Path, epochs: int | None, seed: int) -> dict[str, Any]:
    """Train digit, sound and intent heads over shared encoders and write one checkpoint for all three."""
    from model.checkpoint import join_state_dicts, save_state_dict
    from model.streams.train import write_curve
    from research.multitask.shipped_tasks import RECIPE, STEPS, multitask_config, shipped_tasks
    from research.multitask.train import fit_tasks, shared_lexicon

    recipe, began = replace(RECIPE, epochs=epochs or RECIPE.epochs, seed=seed), time.monotonic()
    tasks = shipped_tasks(root)
    words, table = shared_lexicon(tasks, root / "assistvec" / "vectors.npz")

    def report(epoch: int, point: dict[str, float]) -> None:
        losses = " ".join(f"{name} {value:.2f}" for name, value in point.items() if name != "epoch")
        print(f"epoch {epoch} of {recipe.epochs}: {losses}", file=sys.stderr)

    built = fit_tasks(tasks, words, table, recipe, STEPS, report)
    seconds = time.monotonic() - began
    networks = {name: one.network for name, one in built.items()}
    parameters = sum({p: p.numel() for network in networks.values() for p in network.parameters()}.values())
    cells = {f"{name} {subset}": cell for name, one in built.items() for subset, cell in one.cells.items()}
    lines = "\n".join(
        f"| {' | '.join(name.split())} | {cell['accuracy']:.3f} | {cell['nll']:.3f} |" for name, cell in cells.items()
    )
    card = CARD.format(
        name=out.parent.name, version=out.name, tasks=", ".join(tasks), parameters=parameters, seconds=seconds, cells=lines
    )  # fmt: skip
    config = multitask_config(built, tasks, recipe, out.parent.name, out.name)
    digest = save_state_dict(out, join_state_dicts(networks), config, card)
    write_curve(out / "curve.jsonl", next(iter(built.values())).curve)
    size = (out / "model.safetensors").stat().st_size
    told = {"digest": digest, "parameters": parameters, "bytes": size, "seconds": round(seconds)}
    return told | {"validation": cells}
