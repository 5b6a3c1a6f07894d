"""`braid predict-batch`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.runtime.settings import ROOT

SHIPPED = {"tridigit": ROOT / "models" / "tridigit" / "1", "homesound10": ROOT / "models" / "homesound10" / "1"}


def predict_batch(
    manifest: Annotated[Path, typer.Option(help="JSON lines: id, task, text, image, audio (paths or null), drop.")],
    out: Annotated[Path, typer.Option(help="Where the answers go, a JSON line for each sample, in order.")],
    model: Annotated[Path | None, typer.Argument(help="A checkpoint for all tasks; default: the shipped ones.")] = None,
    model_for: Annotated[
        list[str] | None, typer.Option(help="TASK=CHECKPOINT, for one task; may be given again.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
) -> None:
    """Answers for a file of samples: label, probabilities, conflict and abstention; what cannot be read is told."""
    from model.checkpoint import CheckpointError, checkpoint_tasks
    from model.checkpoint import load as load_model
    from model.manifest import ManifestError
    from model.predict_manifest import predict_manifest
    from model.predictor import FusionModel

    if device not in ("cpu", "cuda", "auto"):
        output.fail(f"no device {device}: cpu, cuda or auto", 2)
    folders = dict(SHIPPED) if model is None else {}
    for given in model_for or ():
        task, found, path = given.partition("=")
        if not (task and found and path):
            output.fail(f"--model-for takes TASK=CHECKPOINT, not {given}", 2)
        folders[task] = Path(path)
    loaded: dict[tuple[Path, str], FusionModel] = {}
    known: dict[Path, tuple[str, ...]] = {}

    def serving(task: str) -> FusionModel | str:
        folder = folders.get(task, model)
        if folder is None:
            return f"no model for the task {task[:40]}: give one with --model-for"
        if folder not in known:
            known[folder] = checkpoint_tasks(folder)
        if known[folder] and task not in known[folder]:
            return f"{folder} knows the tasks {', '.join(known[folder])}, not {task[:40]}"
        # Of several tasks each is served by its own head; any other model answers for whatever task is asked.
        key = (folder, task if known[folder] else "")
        if key not in loaded:
            loaded[key] = load_model(folder, device, task=task)
        return loaded[key]

    count = failed = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w", encoding="utf-8") as written:
            for answer in predict_manifest(manifest, serving):
                written.write(json.dumps(answer, ensure_ascii=False) + "\n")
                count, failed = count + 1, failed + ("error" in answer)
    except (ManifestError, OSError) as error:
        output.fail(str(error), 2)
    except CheckpointError as error:
        output.fail(str(error))
    print(f"{out}: {count} answers, {failed} of them errors", file=sys.stderr)
