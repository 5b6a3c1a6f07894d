"""`braid train` of the model of the streams."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from services.cli import output


def train_home(data: Path, out: Path, single_steps: int, steps: int, seed: int, *, json: bool) -> None:
    """Train with progress, and write the checkpoint of the streams."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from model.streams.train import StreamsRecipe
    from model.streams.train import train as train_network

    if not (data / "tridigit" / "manifest.jsonl").exists():
        output.fail(
            f"no data sets in {data}: give the folder that holds tridigit, homesound10, homestream and assistvec", 2
        )
    recipe = StreamsRecipe(seed=seed, single_steps=single_steps, steps=steps)
    began = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=single_steps + steps, losses="")

        def report(step: int, point: dict[str, float]) -> None:
            losses = " ".join(f"{name} {value:.2f}" for name, value in point.items() if name not in ("step", "seconds"))
            progress.update(task, completed=step, losses=losses)
            if not console.is_terminal and step % 100 == 0:
                console.print(f"step {step} of {single_steps + steps}: {losses}")

        trained = train_network(data, recipe, report)
    from services.offline.evaluation.finalize_training import finalize_training

    told = finalize_training(trained, recipe, data, out, time.monotonic() - began)
    if json:
        output.result(told)
        return
    print(f"{out}: digest {told['digest'][:12]}, {told['parameters']} parameters, {told['seconds']} s", file=sys.stderr)
    for name, cell in told["validation"].items():
        print(f"  {name:18} accuracy {cell['accuracy']:.3f}  NLL {cell['nll']:.3f}  ECE {cell['ece']:.3f}")
    for name, found in told["streams"].items():
        print(f"  streams ({name}): event F1 {found['f1']} ({found['hits']} of {found['true']}, {found['said']} said)")
