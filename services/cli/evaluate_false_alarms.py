"""`braid evaluate --quiet`: false events on streams in which nothing happens."""

from __future__ import annotations

from pathlib import Path

import typer

from services.cli import output
from services.runtime.settings import ROOT, load


def tell(model: Path | None, hours: float, seed: int, *, json: bool) -> None:
    """Events said of made streams without any, by hour, sense and label; exit code 1 where more than one an hour is said."""
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model
    from services.fusion.event_detector import EventDetector
    from services.fusion.inference import Inference
    from services.offline.evaluation.false_alarms import measure_false_alarms

    try:
        inference = Inference(load_model(model or load().fusion.model, "cpu"), 64 * 1024 * 1024)
    except CheckpointError as error:
        output.fail(str(error))
    found = measure_false_alarms(inference, EventDetector.of_model(inference.model), ROOT / "data", hours, seed)
    if json:
        output.result(found.as_json())
    else:
        print(f"{found.final} false events in {found.hours:g} h: {found.per_hour:.2f} an hour")
        for name, counts in (("by sense", found.by_modality), ("by label", found.by_label)):
            print(f"  {name}: " + (", ".join(f"{k} {n}" for k, n in sorted(counts.items())) or "none"))
        print(f"  said provisionally and withdrawn: {found.withdrawn}")
    if found.per_hour > 1:
        raise typer.Exit(1)
