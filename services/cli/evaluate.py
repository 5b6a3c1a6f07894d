"""`braid evaluate`: scores of a model on a data set, or its false alarms on streams without events."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from services.cli import load_model, output
from services.runtime.settings import ROOT

FALSE_ALARMS_PER_HOUR_MAX = 1


def evaluate(
    model: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A checkpoint, or several trainings of one recipe to score together. Default: the shipped one."
        ),
    ] = None,
    data: Annotated[str, typer.Option(help="tridigit, homesound10 or a manifest of your own.")] = "tridigit",
    part: Annotated[Literal["val", "test"], typer.Option(help="The rows to score.")] = "test",
    membership: Annotated[
        bool, typer.Option("--membership", help="Also run a membership attack: does the loss tell training rows?")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", help="Instead, count false events on streams without any; exit code 1 above one per hour."
        ),
    ] = False,
    hours: Annotated[float, typer.Option(min=0.01, help="With --quiet: hours of stream time.")] = 2.0,
    seed: Annotated[int, typer.Option(help="With --quiet: the same seed makes the same streams.")] = 1,
    json: output.Json = False,
) -> None:
    """Score a model for every subset of modalities at every severity: accuracy, calibration, conflict, abstention."""
    folders = model or []
    if len(folders) > 1 and (quiet or membership):
        raise output.UsageError(f"{'--quiet' if quiet else '--membership'} takes one model.")
    if quiet:
        _evaluate_false_alarms(folders[0] if folders else None, hours, seed, json=json)
        return
    scores, severities = _scores(folders or [ROOT / "models" / data / "1"], data, part, membership=membership)
    if json:
        output.print_json(scores)
    else:
        _print_scores(scores, severities)


def _scores(folders: list[Path], data: str, part: str, *, membership: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    from model.data.homesound10 import GROUPS, Homesound10
    from model.data.registry import read_set
    from model.evaluate import evaluate_model
    from model.multi_seed import evaluate_seeds

    loaded = [load_model.load_model(folder, task=data) for folder in folders]
    samples = read_set(data, ROOT / "data")
    if isinstance(samples, Homesound10):
        samples = samples.hold_out([fold for group in GROUPS for fold in group])
    if not samples.samples(part, "clean"):
        raise output.UsageError(f"{data} has no samples for {part}.")
    for one in loaded:
        if set(one.labels) != set(samples.labels):
            raise output.UsageError(f"The model {one.name} has other labels than {data}.")
    if len({one.modalities for one in loaded}) > 1:
        raise output.UsageError("Models of different modalities cannot be scored together.", do="Score each alone.")
    if membership and not samples.samples("train", "clean"):
        raise output.UsageError(f"{data} has no training rows apart from {part}.")
    scores = evaluate_model(loaded[0], samples, part) if len(loaded) == 1 else evaluate_seeds(loaded, samples, part)
    if isinstance(samples, Homesound10):
        scores["note"] = (
            "All clips: not a test of a model that was trained on them; its card has the cross-validated scores."
        )
    if membership:
        from research.privacy.study import membership_by_severity

        attacks = membership_by_severity(loaded[0], samples, part)
        scores["membership"] = {severity: asdict(result) for severity, result in attacks.items()}
    return scores, tuple(samples.severities)


def _print_scores(scores: dict[str, Any], severities: tuple[str, ...]) -> None:
    names = ("accuracy", "macro_f1", "nll", "brier", "ece")
    for severity in severities:
        result = scores[severity]
        rows = []
        for subset, cell in result["cells"].items():
            gap = f"{cell['gap']:+.3f} ({cell['gap_lower']:+.3f})" if "gap" in cell else ""
            rows.append([subset, *(f"{cell[name]:.3f}" for name in names), f"{cell['excess_ece']:+.3f}", gap])
        print("\n" + output.table([severity, "accuracy", "F1", "NLL", "Brier", "ECE", "excess", "gap (lower)"], rows))
        missing, abstention = result["missing"], result["abstention"]
        print(f"missing-rate curve: area {missing['area']}, half missing {missing['half_missing']}")
        print(f"conformal sets contain the label {abstention['coverage']}, answered {abstention['answered']}")
        for name, row in result["one_replaced_by_noise"].items():
            gap = f"{row['gap']:+.3f} ({row['gap_lower']:+.3f})"
            print(f"{name} replaced by noise: {row['accuracy']:.3f}, gap {gap}")
        if "conflict" in result:
            print("conflict: " + ", ".join(f"{name} {value}" for name, value in result["conflict"].items()))
    for severity, result in scores.get("membership", {}).items():
        print(f"membership attack, {severity}: AUC {result['auc']}, advantage {result['advantage']}")
    print("\n" + scores.get("note", ""))
    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in scores["summary"].items()))


def _evaluate_false_alarms(model: Path | None, hours: float, seed: int, *, json: bool) -> None:
    """Count events detected in synthetic streams without any, per hour, modality and label."""
    from services.fusion.event_detector import EventDetector
    from services.fusion.inference import Inference
    from services.offline.evaluation.false_alarms import measure_false_alarms

    inference = Inference(load_model.load_model(model), load_model.CACHE_BYTES_MAX)
    alarms = measure_false_alarms(inference, EventDetector.of_model(inference.model), ROOT / "data", hours, seed)
    if json:
        output.print_json(alarms.as_json())
    else:
        print(f"{alarms.final} false events in {alarms.hours:g} h: {alarms.per_hour:.2f} per hour")
        for title, counts in (("by modality", alarms.by_modality), ("by label", alarms.by_label)):
            print(f"  {title}: " + (", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"))
        print(f"  reported early and withdrawn: {alarms.withdrawn}")
    if alarms.per_hour > FALSE_ALARMS_PER_HOUR_MAX:
        raise typer.Exit(1)
