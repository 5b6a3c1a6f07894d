"""`braid replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import say
from services.runtime.settings import load

if TYPE_CHECKING:
    from services.fusion.infer import Inference
    from services.replay.compare import Compared
    from services.replay.pace import Pace
    from services.replay.run import Told

CACHE_BYTES = 256 * 1024 * 1024


def replay(
    file: Annotated[Path | None, typer.Argument(help="A recording that `braid record` made.")] = None,
    speed: Annotated[str, typer.Option(help="max, or so many times as fast as it happened: answers are told then.")] = (
        "max"
    ),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Another setting: alignment.NAME=VALUE or limits.NAME=VALUE.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Another checkpoint; default: the one that was recorded.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="List what appears, vanishes or changes, and why.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the diff as one HTML file.")] = None,
    as_test: Annotated[Path | None, typer.Option(help="Store a regression case in this new folder.")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Run the case (or all cases) in a folder again; 1 where anything differs.")
    ] = None,
    json: say.Json = False,
) -> None:
    """Play a recording through the same code again, without a broker, and compare with what was recorded.

    Byte for byte the same under the same settings and model, 1 where not. With --set or --model: which windows,
    predictions and events appear, vanish or change, and why. First answers depend on timing and are not compared.
    """
    from services.recordings.about import NoRecording

    if (file is None) == (check is None):
        say.fail("give a recording to replay, or --check with a folder of cases", 2)
    if check is not None and (set_ or as_test or html):
        say.fail("--check takes a case as it is: it goes with --model and --json only", 2)
    try:
        if check is not None:
            _check(check, model, json)
        elif file is not None:
            _replay(file, _pace(speed), set_ or [], model, diff, html, as_test, json)
    except NoRecording as error:
        say.fail(str(error), 2)
    except OSError as error:
        say.fail(f"{error.filename}: {error.strerror}")


def _replay(
    file: Path,
    pace: Pace | None,
    changes: list[str],
    model: Path | None,
    whole: bool,
    html: Path | None,
    as_test: Path | None,
    json: bool,
) -> None:
    from services.recordings.reader import RecordingFile
    from services.replay.case import store
    from services.replay.compare import answered_by, with_recorded
    from services.replay.page import page
    from services.replay.table import console, show
    from services.replay.under import under

    if as_test is not None and as_test.exists():
        say.fail(f"{as_test} exists already: a case is never written over", 2)
    recording = RecordingFile(file)
    rules = under(recording.about, changes)
    inference = _inference(model, None if model else answered_by(recording, rules.topics))

    def tell(told: Told) -> None:
        if pace is not None:
            pace.reach(told.at_us)
            _tell(told)

    compared = with_recorded(recording, rules, inference, tell, chosen=model is not None)
    if html is not None:
        html.write_text(page(compared), encoding="utf-8")
    if as_test is not None:
        store(as_test, file, changes, compared, inference.model.digest)
    if json:
        say.result(compared.as_json())
    else:
        show(compared, console(), whole=whole)
    sys.exit(0 if compared.ok else 1)


def _check(folder: Path, model: Path | None, json: bool) -> None:
    from services.replay.case import cases, check, read
    from services.replay.table import console, show

    found: list[Compared] = []
    for path in cases(folder):
        case = read(path)
        found.append(check(case, _inference(model, case.digest)))
    if json:
        say.result([compared.as_json() for compared in found])
    else:
        for compared in found:
            show(compared, console(), whole=True)
    sys.exit(0 if all(compared.diff.same_bytes for compared in found) else 1)


def _inference(model: Path | None, digest: str | None) -> Inference:
    """The model asked for, else the one of this digest, else the one that serves."""
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model
    from services.fusion.infer import Inference
    from services.replay.models import find

    fusion = load().fusion
    try:
        return Inference(load_model(find(model or fusion.model, digest), fusion.device), CACHE_BYTES)
    except CheckpointError as error:
        say.fail(str(error))


def _pace(speed: str) -> Pace | None:
    from services.replay.pace import Pace

    if speed == "max":
        return None
    try:
        times = float(speed)
    except ValueError:
        times = 0.0
    if not 0.01 <= times <= 1_000:
        say.fail(f"--speed takes max or 0.01 to 1000, not {speed}", 2)
    return Pace(times)


def _tell(told: Told) -> None:
    """An answer as it would have come, on stderr: stdout is for the result."""
    answer, window = told.predicted.answer, told.predicted.window
    senses = "  ".join(f"{name} {lane.state}" for name, lane in window.modalities.items())
    print(f"final  {window.session}  {answer.label} {answer.confidence:.2f}  {senses}", file=sys.stderr, flush=True)
    for event in told.events:
        print(f"EVENT  {event.session}  {event.lifecycle} {event.kind} {event.label}", file=sys.stderr, flush=True)
