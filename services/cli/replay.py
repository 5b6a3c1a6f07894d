"""`braid replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from services.runtime.settings import load

if TYPE_CHECKING:
    from services.fusion.inference import Inference
    from services.offline.replay.compare import Comparison

CACHE_BYTES = 256 * 1024 * 1024


def replay(
    file: Annotated[Path | None, typer.Argument(help="A recording that `braid record` made.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Another setting: alignment.NAME=VALUE or limits.NAME=VALUE.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Another checkpoint; default: the one that was recorded.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="List what appears, vanishes or changes, and why.")] = False,
    as_test: Annotated[Path | None, typer.Option(help="Store a regression case in this new folder.")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Run the case (or all cases) in a folder again; 1 where anything differs.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Play a recording through the same code again, without a broker, and compare with what was recorded.

    Byte for byte the same under the same settings and model, 1 where not. With --set or --model: which windows,
    predictions and events appear, vanish or change, and why. First answers depend on timing and are not compared.
    """
    from services.offline.recording.metadata import RecordingError

    if (file is None) == (check is None):
        output.fail("give a recording to replay, or --check with a folder of cases", 2)
    if check is not None and (set_ or as_test):
        output.fail("--check takes a case as it is: it goes with --model and --json only", 2)
    try:
        if check is not None:
            _check(check, model, json)
        elif file is not None:
            _replay(file, set_ or [], model, diff, as_test, json)
    except RecordingError as error:
        output.fail(str(error), 2)
    except OSError as error:
        output.fail(f"{error.filename}: {error.strerror}")


def _replay(
    file: Path,
    changes: list[str],
    model: Path | None,
    whole: bool,
    as_test: Path | None,
    json: bool,
) -> None:
    from services.offline.recording.reader import RecordingFile
    from services.offline.replay.case import store_case
    from services.offline.replay.compare import compare_with_recording, recorded_model_digest
    from services.offline.replay.settings import with_overrides
    from services.offline.replay.table import make_console, print_comparison

    if as_test is not None and as_test.exists():
        output.fail(f"{as_test} exists already: a case is never written over", 2)
    recording = RecordingFile(file)
    rules = with_overrides(recording.metadata, changes)
    inference = _inference(model, None if model else recorded_model_digest(recording, rules.topics))

    compared = compare_with_recording(recording, rules, inference, chosen=model is not None)
    if as_test is not None:
        store_case(as_test, file, changes, compared, inference.model.digest)
    if json:
        output.result(compared.as_json())
    else:
        print_comparison(compared, make_console(), whole=whole)
    sys.exit(0 if compared.ok else 1)


def _check(folder: Path, model: Path | None, json: bool) -> None:
    from services.offline.replay.case import check_case, find_cases, read_case
    from services.offline.replay.table import make_console, print_comparison

    found: list[Comparison] = []
    for path in find_cases(folder):
        case = read_case(path)
        found.append(check_case(case, _inference(model, case.digest)))
    if json:
        output.result([compared.as_json() for compared in found])
    else:
        for compared in found:
            print_comparison(compared, make_console(), whole=True)
    sys.exit(0 if all(compared.diff.same_bytes for compared in found) else 1)


def _inference(model: Path | None, digest: str | None) -> Inference:
    """The model asked for, else the one of this digest, else the one that serves."""
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model
    from services.fusion.inference import Inference
    from services.offline.replay.checkpoints import find_checkpoint

    fusion = load().fusion
    try:
        return Inference(load_model(find_checkpoint(model or fusion.model, digest), fusion.device), CACHE_BYTES)
    except CheckpointError as error:
        output.fail(str(error))
