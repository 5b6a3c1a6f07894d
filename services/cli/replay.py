"""`braid replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import load_model, output
from services.runtime.settings import load

if TYPE_CHECKING:
    from services.offline.replay.compare import Comparison


def replay(
    file: Annotated[Path | None, typer.Argument(help="A recording that `braid record` made.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: alignment.NAME=VALUE or limits.NAME=VALUE; may be repeated."),
    ] = None,
    session: Annotated[str | None, typer.Option(help="Only this session. Default: all that were recorded.")] = None,
    model: Annotated[Path | None, typer.Option(help="Another checkpoint. Default: the recorded one.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="List what appears, vanishes or changes, and why.")] = False,
    as_test: Annotated[Path | None, typer.Option(help="Store a regression case in this new folder.")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Run the case, or all cases, in a folder; exit code 1 if one differs.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Run a recording through the same code without a broker, and compare the results with the recorded ones.

    With the same settings and model they are identical, byte for byte; exit code 1 if not. With --set or --model: which
    windows, predictions and events appear, vanish or change, and why. Early results depend on timing and are not
    compared.
    """
    if (file is None) == (check is None):
        raise output.UsageError("Give either a recording to replay, or --check with a folder of cases.")
    if check is not None and (set_ or as_test or session is not None):
        raise output.UsageError("--check takes a case as it is.", "It goes with --model and --json only.")
    if as_test is not None and session is not None:
        raise output.UsageError(
            "A case holds a whole recording.",
            do="Record one session (`braid record --session`), and make a case of it.",
        )
    if check is not None:
        _check(check, model, json)
    elif file is not None:
        _replay(file, set_ or [], session, model, diff, as_test, json)


def _replay(
    file: Path,
    changes: list[str],
    session: str | None,
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
        raise output.UsageError(f"{as_test} exists.", "A case is never overwritten.", "Give another name.")
    recording = RecordingFile(file, load().kafka.signer(), session)
    if session is not None and not any(record.key is not None for record in recording.records()):
        raise output.UsageError(
            f"{file} has no record of {session}.", do="`braid inspect --recording` shows the sessions."
        )
    if not recording.signer.secrets:
        output.note_unverified(str(file))
    settings = with_overrides(recording.metadata, changes)
    inference = load_model.load_inference(model, None if model else recorded_model_digest(recording, settings.topics))
    compared = compare_with_recording(recording, settings, inference, chosen=model is not None)
    if as_test is not None:
        store_case(as_test, file, changes, compared, inference.model.digest)
    if json:
        output.print_json(compared.as_json())
    else:
        print_comparison(compared, make_console(), whole=whole)
    sys.exit(0 if compared.ok else 1)


def _check(folder: Path, model: Path | None, json: bool) -> None:
    from services.offline.replay.case import check_case, find_cases, read_case
    from services.offline.replay.table import make_console, print_comparison

    results: list[Comparison] = []
    signer = load().kafka.signer()
    for path in find_cases(folder):
        case = read_case(path)
        results.append(check_case(case, load_model.load_inference(model, case.digest), signer))
    if json:
        output.print_json([compared.as_json() for compared in results])
    else:
        for compared in results:
            print_comparison(compared, make_console(), whole=True)
    sys.exit(0 if all(compared.diff.same_bytes for compared in results) else 1)
