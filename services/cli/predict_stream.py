"""`braid predict-stream`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from services.runtime.settings import load

if TYPE_CHECKING:
    from services.offline.evaluation.run_stream import StreamEvent

# The events of a stream by the task that they are of.
TASKS = {"tridigit": "digit", "homesound10": "sound"}
CACHE_BYTES_MAX = 512 * 1024 * 1024


def predict_stream(
    events: Annotated[Path, typer.Option(help="What a server received, in order of arrival (…events.jsonl).")],
    audio: Annotated[Path, typer.Option(help="How to render the microphone (…audio.json).")],
    root: Annotated[Path, typer.Option(help="The folder of the sets that both files name.")],
    out: Annotated[Path, typer.Option(help="Where the events go, a JSON object a line.")],
    model: Annotated[Path | None, typer.Argument(help="A checkpoint; default: the one that serves.")] = None,
    model_for: Annotated[
        list[str] | None, typer.Option(help="TASK=PATH: this checkpoint for tridigit's or homesound10's events.")
    ] = None,
) -> None:
    """The events of one recorded stream, by the services' own alignment and fusion, without a broker.

    A line: {"start", "end", "kind", "label", "confidence", "decided_at"}, in stream seconds, as the event stood at the
    end; decided_at is the arrival of the record at which it first carried that label.
    """
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model
    from model.data.homestream import UnreadableStream
    from services.fusion.event_detector import EventDetector
    from services.fusion.inference import Inference
    from services.offline.evaluation.dataset import read_stream_files
    from services.offline.evaluation.run_stream import final_events, run_stream

    serving = _models(model or load().fusion.model, model_for or [])
    found: list[StreamEvent] = []
    try:
        recording = read_stream_files("stream", events, audio, root)
        for path in dict.fromkeys(serving.values()):
            inference = Inference(load_model(path, "cpu"), CACHE_BYTES_MAX)
            if not inference.model.decision:
                output.fail(
                    f"{path} has no thresholds for events: `braid train` chooses them for a model of streams", 2
                )
            said = final_events(run_stream(recording, inference), EventDetector.of_model(inference.model))
            found += [t for t in said if serving[t.kind] == path]
    except (UnreadableStream, CheckpointError) as error:
        output.fail(str(error), 2)
    try:
        out.write_text("".join(_line(t) for t in sorted(found, key=lambda t: (t.start_s, t.kind))), encoding="utf-8")
    except OSError as error:
        output.fail(f"{out} cannot be written: {error.strerror}", 2)


def _models(default: Path, given: list[str]) -> dict[str, Path]:
    """The checkpoint for each kind of event."""
    chosen = dict.fromkeys(TASKS.values(), default)
    for pair in given:
        task, _, path = pair.partition("=")
        if task not in TASKS or not path:
            output.fail(f"--model-for takes TASK=PATH with {' or '.join(TASKS)}, not {pair}", 2)
        chosen[TASKS[task]] = Path(path)
    return chosen


def _line(t: StreamEvent) -> str:
    times = f'"start": {t.start_s:.6f}, "end": {t.end_s:.6f}'
    what = f'"kind": {json.dumps(t.kind)}, "label": {json.dumps(t.label)}'
    return f'{{{times}, {what}, "confidence": {t.confidence:.6f}, "decided_at": {t.decided_s:.6f}}}\n'
