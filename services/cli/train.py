"""`braid train`."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import say, train_private, train_several, train_task
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
    json: say.Json = False,
) -> None:
    """Train a model: that of the streams, one of a sample task or of several, or one of your own labels."""
    folder = Path(data) if Path(data).is_dir() else ROOT / "data"
    if not Path(data).is_dir():
        task = data
    if task in ("home", "several") and private_epsilon is not None:
        say.fail(f"--private-epsilon is not for {task}: give --data tridigit or a manifest", 2)
    if task != "home":
        out = out or ROOT / "models" / Path(task).stem / "1"
        if private_epsilon is not None:
            told = train_private.train_private(task, folder, out, private_epsilon, private_delta)
            if json:
                say.result(told)
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
            say.result(told)
        else:
            train_task.tell(out, told)
        return
    _home(folder, out or ROOT / "models" / "home" / "1", single_steps, steps, seed, json)


def _home(data: Path, out: Path, single_steps: int, steps: int, seed: int, json: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from model.train import Recipe
    from model.train import train as train_network

    if not (data / "tridigit" / "manifest.jsonl").exists():
        say.fail(
            f"no data sets in {data}: give the folder that holds tridigit, homesound10, homestream and assistvec", 2
        )
    recipe = Recipe(seed=seed, single_steps=single_steps, steps=steps)
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
    told = _finish(trained, recipe, data, out, time.monotonic() - began)
    if json:
        say.result(told)
        return
    print(f"{out}: digest {told['digest'][:12]}, {told['parameters']} parameters, {told['seconds']} s", file=sys.stderr)
    for name, cell in told["validation"].items():
        print(f"  {name:18} accuracy {cell['accuracy']:.3f}  NLL {cell['nll']:.3f}  ECE {cell['ece']:.3f}")
    for name, found in told["streams"].items():
        print(f"  streams ({name}): event F1 {found['f1']} ({found['hits']} of {found['true']}, {found['said']} said)")


def _finish(trained: Any, recipe: Any, data: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Calibrate, choose the thresholds of the fold, and write the checkpoint with its card."""
    from model.calibrate import calibrate
    from model.checkpoint import load, save
    from model.labels import LABELS
    from model.train import write_curve
    from services.fusion.infer import Inference
    from services.offline.tune import tune

    calibrated = calibrate(trained.network, trained.words, data)
    config: dict[str, Any] = {
        "name": out.parent.name,
        "version": out.name,
        "labels": list(LABELS),
        "words": trained.words,
        "vector_size": 50,
        "batch_windows": 8,
        "segments_per_window": 4,
        "threads": 1,
        "conformal": round(calibrated.conformal, 6),
        "conflict_from": calibrated.conflict_from,
        "recipe": asdict(recipe),
        "decision": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch), trained.network, config, "")
        tuned = tune(Inference(load(Path(scratch), "cpu"), 512 * 1024 * 1024), data)
    d = tuned.decision
    names = ("weight", "on", "off", "since", "change_us", "lead_us", "expires_us", "gap_us", "early_on")
    config["decision"] = {name: getattr(d, name) for name in names}
    scores = {
        part: {
            "f1": round(s.f1, 3),
            "hits": s.hits,
            "said": s.said,
            "true": s.true,
            "delay_s": round(statistics.median(s.delays_s), 2) if s.delays_s else None,
        }
        for part, s in tuned.scores.items()
    }
    told = {
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        "seconds": round(seconds),
        "validation": calibrated.cells,
        "streams": scores,
        "guesses": {part: asdict(found) for part, found in tuned.guesses.items()},
        "alarms_per_hour": {part: round(found.per_hour, 2) for part, found in tuned.alarms.items()},
    }
    told["digest"] = save(out, trained.network, config, _card(config, told))
    write_curve(out / "curve.jsonl", trained.curve)
    return told


def _card(config: dict[str, Any], told: dict[str, Any]) -> str:
    cells = "\n".join(
        f"| {name} | {cell['windows']:.0f} | {cell['accuracy']:.3f} | {cell['nll']:.3f} | {cell['ece']:.3f} |"
        for name, cell in told["validation"].items()
    )
    streams = "\n".join(
        f"- {part}: F1 {s['f1']}, {s['hits']} right of {s['true']} true, {s['said']} said, median delay {s['delay_s']} s"
        for part, s in told["streams"].items()
    )
    guesses = "\n".join(f"- {part}: {g['withdrawn']} of {g['said']} withdrawn" for part, g in told["guesses"].items())
    alarms = "\n".join(f"- {part} items: {count} an hour" for part, count in told["alarms_per_hour"].items())
    return f"""# {config["name"]} {config["version"]}

What it knows: nothing, the ten spoken, shown or written digits, and ten home sounds ({", ".join(config["labels"][11:])}).
{told["parameters"]} parameters; sound at 8 kHz, pictures at 64 x 64, English sentences; windows of 2 s, hop 0.5 s.

Made by `braid train` with the recipe in config.json, in {told["seconds"]} s on one core.

## Data
Trained on the `train` rows of tridigit and on the clips of homesound10 whose recording no stream S01-S08 plays; calibrated
on tridigit `val` and on the clips of S01-S04; thresholds of the event fold chosen on S01-S04 and on quiet streams made of val items. S05-S08 chose nothing.

## Results
Synthetic validation scenes, window by window (windows in which the named senses are there):

| senses | windows | accuracy | NLL | ECE |
|---|---|---|---|---|
{cells}

Many windows show nothing of their event in a given sense, which bounds what that sense alone can reach.

Whole streams, events:

{streams}

Provisional events, said on early answers:

{guesses}

False events on two hours of made streams without any (those of val items chose the thresholds too):

{alarms}

## Limits
Eight people's hands and five people's voices are not everybody's; ten sounds are not a home. Not for anything on which
safety depends.

## Licence
Weights CC BY-SA 4.0, as the largest part of what they were trained on (see data/README.md).
"""
