"""The last steps of `braid train` for a model of streams: calibrate, tune the event detector, write the model card."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.checkpoint import load, save
from model.labels import LABELS
from model.streams.calibrate import calibrate
from model.streams.train import write_curve
from services.fusion.inference import Inference
from services.offline.evaluation.tune_events import tune_detector


def finalize_training(trained: Any, recipe: Any, data: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Calibrate, tune the event detector, write the checkpoint with its card, and return the results."""
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
        tuned = tune_detector(Inference(load(Path(scratch), "cpu"), 512 * 1024 * 1024), data)
    d = tuned.detector
    names = ("weight", "on", "off", "since", "change_us", "lead_us", "expires_us", "gap_us", "early_on")
    config["decision"] = {name: getattr(d, name) for name in names}
    scores = {
        part: {
            "f1": round(s.f1, 3),
            "hits": s.hits,
            "said": s.detected,
            "true": s.true,
            "delay_s": round(statistics.median(s.delays_s), 2) if s.delays_s else None,
        }
        for part, s in tuned.scores.items()
    }
    results = {
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        "seconds": round(seconds),
        "validation": calibrated.cells,
        "streams": scores,
        "guesses": {part: {"said": p.published, "withdrawn": p.withdrawn} for part, p in tuned.provisional.items()},
        "alarms_per_hour": {part: round(found.per_hour, 2) for part, found in tuned.alarms.items()},
    }
    results["digest"] = save(out, trained.network, config, _card(config, results))
    write_curve(out / "curve.jsonl", trained.curve)
    return results


def _card(config: dict[str, Any], results: dict[str, Any]) -> str:
    cells = "\n".join(
        f"| {name} | {cell['windows']:.0f} | {cell['accuracy']:.3f} | {cell['nll']:.3f} | {cell['ece']:.3f} |"
        for name, cell in results["validation"].items()
    )
    streams = "\n".join(
        f"- {part}: F1 {s['f1']}, {s['hits']} right of {s['true']} true, {s['said']} said, median delay {s['delay_s']} s"
        for part, s in results["streams"].items()
    )
    guesses = "\n".join(
        f"- {part}: {g['withdrawn']} of {g['said']} withdrawn" for part, g in results["guesses"].items()
    )
    alarms = "\n".join(f"- {part} items: {count} an hour" for part, count in results["alarms_per_hour"].items())
    return f"""# {config["name"]} {config["version"]}

What it knows: nothing, the ten spoken, shown or written digits, and ten home sounds ({", ".join(config["labels"][11:])}).
{results["parameters"]} parameters; sound at 8 kHz, pictures at 64 x 64, English sentences; windows of 2 s, hop 0.5 s.

Made by `braid train` with the recipe in config.json, in {results["seconds"]} s on one core.

## Data
Trained on the `train` rows of tridigit and on the clips of homesound10 whose recording no stream S01-S08 plays; calibrated
on tridigit `val` and on the clips of S01-S04; thresholds of the event fold chosen on S01-S04 and on streams made of val
items, with events and without. S05-S08 chose nothing.

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

False events on two hours of made streams without any (those of val items chose the thresholds too, as did `made` above):

{alarms}

## Limits
Eight people's hands and five people's voices are not everybody's; ten sounds are not a home. Not for anything on which
safety depends.

## Licence
Weights CC BY-SA 4.0, as the largest part of what they were trained on (see data/README.md).
"""
