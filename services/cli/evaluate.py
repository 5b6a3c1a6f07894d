"""`braid evaluate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import evaluate_false_alarms, output
from services.runtime.settings import ROOT


def evaluate(
    model: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A checkpoint, or several trainings of one recipe to be scored together; default: the shipped one of the set."
        ),
    ] = None,
    data: Annotated[str, typer.Option(help="tridigit, homesound10 or a manifest of your own.")] = "tridigit",
    part: Annotated[str, typer.Option(help="val or test.")] = "test",
    membership: Annotated[
        bool, typer.Option("--membership", help="Also: can an attacker tell training rows by their loss?")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Instead: false events on streams in which nothing happens; 1 above one an hour."),
    ] = False,
    hours: Annotated[float, typer.Option(min=0.01, help="With --quiet: how much stream time.")] = 2.0,
    seed: Annotated[int, typer.Option(help="With --quiet: the same seed makes the same streams.")] = 1,
    json: output.Json = False,
) -> None:
    """Score a model in every cell: all subsets of modalities in all severities, calibration, conflict, abstention."""
    if quiet:
        if len(model or ()) > 1:
            output.fail("--quiet takes one model", 2)
        evaluate_false_alarms.tell(model[0] if model else None, hours, seed, json=json)
        return
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model
    from model.data.homesound10 import GROUPS, Homesound10
    from model.data.registry import UnknownDataSet, read_set
    from model.evaluate import evaluate_model as scores_of
    from model.manifest import ManifestError
    from model.multi_seed import evaluate_seeds
    from research.privacy.membership import membership_by_severity as attacked

    if part not in ("val", "test"):
        output.fail("--part is val or test", 2)
    try:
        every = [load_model(path, "cpu", task=data) for path in model or [ROOT / "models" / data / "1"]]
        found = read_set(data, ROOT / "data")
    except (UnknownDataSet, ManifestError) as error:
        output.fail(str(error), 2)
    except CheckpointError as error:
        output.fail(str(error))
    if isinstance(found, Homesound10):
        found = found.hold_out([fold for group in GROUPS for fold in group])
    if not found.samples(part, "clean"):
        output.fail(f"{data} has no samples for {part}", 2)
    for loaded in every:
        if set(loaded.labels) != set(found.labels):
            output.fail(f"the model {loaded.name} knows other labels than {data}", 2)
    if len({loaded.modalities for loaded in every}) > 1:
        output.fail("models of different modalities cannot be scored together: score each by itself", 2)
    if membership and len(every) > 1:
        output.fail("--membership takes one model", 2)
    if membership and not found.samples("train", "clean"):
        output.fail(f"{data} has no training rows that are apart from {part}", 2)
    told = scores_of(every[0], found, part) if len(every) == 1 else evaluate_seeds(every, found, part)
    if isinstance(found, Homesound10):
        told["note"] = (
            "all clips: no test of a model that was trained on them, whose card has the cross-validated scores"
        )
    if membership:
        told["membership"] = {severity: asdict(seen) for severity, seen in attacked(every[0], found, part).items()}
    if json:
        output.result(told)
        return
    for severity in found.severities:
        tell(severity, told[severity])
    for severity, seen in told.get("membership", {}).items():
        print(f"membership attack, {severity}: AUC {seen['auc']}, advantage {seen['advantage']}")
    print("\n" + told.get("note", ""))
    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told["summary"].items()))


def tell(severity: str, told: dict[str, Any]) -> None:
    """One severity for people."""
    print(f"\n{severity:20} accuracy   F1    NLL   Brier  ECE  excess   gap (lower)")
    for name, c in told["cells"].items():
        gap = f"{c['gap']:+.3f} ({c['gap_lower']:+.3f})" if "gap" in c else ""
        print(
            f"{name:20} {c['accuracy']:.3f}   {c['macro_f1']:.3f}  {c['nll']:.3f}  {c['brier']:.3f}  {c['ece']:.3f}"
            f"  {c['excess_ece']:+.3f}  {gap}"
        )
    missing, abstained = told["missing"], told["abstention"]
    print(f"missing-rate curve: area {missing['area']}, half missing {missing['half_missing']}")
    print(f"conformal sets hold the label {abstained['coverage']}, answered {abstained['answered']}")
    for name, row in told["one_replaced_by_noise"].items():
        print(f"{name} replaced by noise: {row['accuracy']:.3f}, gap {row['gap']:+.3f} ({row['gap_lower']:+.3f})")
    if "conflict" in told:
        print("conflict: " + ", ".join(f"{k} {v}" for k, v in told["conflict"].items()))
