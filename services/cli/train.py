"""`braid train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output, train_home, train_private, train_several, train_task
from services.runtime.settings import ROOT


def train(
    data: Annotated[
        str, typer.Option(help="tridigit, homesound10, a manifest (*.jsonl), or the folder that holds the sets.")
    ] = str(ROOT / "data"),
    task: Annotated[
        str, typer.Option(help="With a folder as --data: home (the streams), tridigit, homesound10, several.")
    ] = "home",
    out: Annotated[
        Path | None,
        typer.Option(help="Where the checkpoint goes, <models>/<name>/<version>; default: models/<task>/1."),
    ] = None,
    fusion: Annotated[
        str, typer.Option(help="mean, concat, transformer, late, experts, gated (not for home).")
    ] = "gated",
    epochs: Annotated[
        int | None, typer.Option(min=1, envvar="BRAID_TRAIN_EPOCHS", help="Not for home; default: what suits the set.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Not for home.")] = None,
    resume: Annotated[
        bool, typer.Option(help="Keep the state after each epoch and go on from it (not for home).")
    ] = False,
    single_steps: Annotated[
        int, typer.Option(min=0, help="home: steps of the first phase, each sense by itself.")
    ] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="home: steps of the second, all senses and their fusion.")] = 450,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model on the same machine.")] = 7,
    private_epsilon: Annotated[
        float | None,
        typer.Option(help="Train with differential privacy: at most so much of each row (tridigit, yours)."),
    ] = None,
    private_delta: Annotated[float, typer.Option(help="The chance that epsilon does not hold.")] = 1e-4,
    json: output.Json = False,
) -> None:
    """Train a model: that of the streams, one of a sample task or of several, or one of your own labels."""
    folder = Path(data) if Path(data).is_dir() else ROOT / "data"
    if not Path(data).is_dir():
        task = data
    if task in ("home", "several") and private_epsilon is not None:
        output.fail(f"--private-epsilon is not for {task}: give --data tridigit or a manifest", 2)
    if task != "home":
        out = out or ROOT / "models" / Path(task).stem / "1"
        if private_epsilon is not None:
            told = train_private.train_private(task, folder, out, private_epsilon, private_delta)
            if json:
                output.result(told)
                return
            train_task.tell(out, told)
            print(
                f"  epsilon {told['privacy']['epsilon']:.2f} at delta {private_delta:g}, noise {told['privacy']['noise']:.2f}"
            )
            return
        if task == "several":
            told = train_several.train_several(folder, out, epochs, seed)
        else:
            changed = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
            told = train_task.train_task(task, folder, out, fusion, changed, resume=resume)
        if json:
            output.result(told)
        else:
            train_task.tell(out, told)
        return
    train_home.train_home(folder, out or ROOT / "models" / "home" / "1", single_steps, steps, seed, json=json)
