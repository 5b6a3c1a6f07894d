"""The last steps of `braid train` for a model of streams: calibrate, tune the event detector, write the model card."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.checkpoint import load, save
from model.encoders.image import SIDE
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
        "jpeg_side": SIDE,
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
            "reported": s.detected,
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
        "guesses": {part: {"reported": p.published, "withdrawn": p.withdrawn} for part, p in tuned.provisional.items()},
        "alarms_per_hour": {part: round(alarms.per_hour, 2) for part, alarms in tuned.alarms.items()},
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
        f"- {part}: F1 {s['f1']}, {s['hits']} of {s['true']} events detected, {s['reported']} reported, median delay {s['delay_s']} s"
        for part, s in results["streams"].items()
    )
    guesses = "\n".join(
        f"- {part}: {g['withdrawn']} of {g['reported']} events withdrawn" for part, g in results["guesses"].items()
    )
    alarms = "\n".join(f"- {part} samples: {count} per hour" for part, count in results["alarms_per_hour"].items())
    return f"""# {config["name"]} {config["version"]}

Labels: nothing, ten digits (spoken, shown or written), and ten home sounds ({", ".join(config["labels"][11:])}).
{results["parameters"]} parameters; audio at 8 kHz, images at 64 x 64 (`jpeg_side` {config["jpeg_side"]}), English sentences; windows of 2 s, hop 0.5 s.

Made by `braid train` with the recipe in config.json, in {results["seconds"]} s on one core.

## Data
Trained on the `train` rows of tridigit and on the clips of homesound10 whose recording no stream S01-S08 plays; calibrated
on tridigit `val` and on the clips of S01-S04; thresholds of the event detector chosen on S01-S04 and on synthetic
streams of val samples, with and without events. S05-S08 were not used for any choice.

## Results
Synthetic validation scenes, by window (windows in which the named modalities are present):

| modalities | windows | accuracy | NLL | ECE |
|---|---|---|---|---|
{cells}

In many windows a modality contains nothing of the event, which limits the accuracy of that modality alone.

Events in whole streams:

{streams}

Provisional events, from early predictions:

{guesses}

False alarms in two hours of synthetic streams without events (the streams of val samples and `made` above were also used to
choose the thresholds):

{alarms}

## Limits
The training data has the hands of eight people, the voices of five, and ten kinds of sound. Do not use the model where
safety depends on it.

## Licence
Weights CC BY-SA 4.0, as the largest part of what they were trained on (see data/README.md).
"""
