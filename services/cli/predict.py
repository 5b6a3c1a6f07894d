"""`braid predict`, `braid predict-batch` and `braid predict-stream`: predictions from files, without a broker."""

from __future__ import annotations

import json as json_lines
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import load_model, output
from services.contract.user_errors import BraidError
from services.runtime.settings import ROOT, load

if TYPE_CHECKING:
    from model.predictor import FusionModel
    from services.offline.evaluation.run_stream import StreamEvent

SHIPPED = {"tridigit": ROOT / "models" / "tridigit" / "1", "homesound10": ROOT / "models" / "homesound10" / "1"}
# The kind of events that each task of a stream has.
EVENT_KINDS = {"tridigit": "digit", "homesound10": "sound"}

ModelFor = Annotated[list[str] | None, typer.Option(help="TASK=PATH: the checkpoint for one task; may be repeated.")]


def predict(
    text: Annotated[str | None, typer.Option(help="A sentence.")] = None,
    image: Annotated[Path | None, typer.Option(help="A JPEG, PNG or WebP file.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A WAV, FLAC or Ogg file; the first two seconds are used.")] = None,
    model: Annotated[Path | None, typer.Option(help="A checkpoint. Default: the one that serves.")] = None,
    json: output.Json = False,
) -> None:
    """Predict one sample from files, and show what each modality contributed."""
    from model.predict_files import FileSample, predict_files

    if text is None and image is None and audio is None:
        raise output.UsageError("There is nothing to predict.", do="Give at least one of --text, --image and --audio.")
    loaded = load_model.load_model(model)
    sample = FileSample(text, image.read_bytes() if image else None, audio.read_bytes() if audio else None)
    prediction = predict_files(loaded, sample)
    if isinstance(prediction, str):
        raise BraidError("The sample cannot be used.", prediction)
    if json:
        output.print_json(
            {
                "label": prediction.label,
                "confidence": round(prediction.confidence, 6),
                "top": [{"label": label, "p": round(p, 6)} for label, p in prediction.top],
                "contributions": {name: round(value, 6) for name, value in prediction.contributions.items()},
                "conflict": round(prediction.conflict, 6),
                "odd": prediction.odd,
                "abstained": prediction.abstained,
            }
        )
        return
    abstained = "  (abstained: not certain enough)" if prediction.abstained else ""
    print(f"{prediction.label}  {prediction.confidence:.3f}{abstained}")
    for name, value in prediction.contributions.items():
        print(f"  {name:6} {value:+.3f}")
    print("  next: " + ", ".join(f"{label} {p:.3f}" for label, p in prediction.top[1:]))


def predict_batch(
    manifest: Annotated[Path, typer.Option(help="JSON lines: id, task, text, image, audio (paths or null), drop.")],
    out: Annotated[Path, typer.Option(help="The file to write: one JSON line for each sample, in order.")],
    model: Annotated[Path | None, typer.Argument(help="A checkpoint for all tasks. Default: the shipped ones.")] = None,
    model_for: ModelFor = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
    json: output.Json = False,
) -> None:
    """Predict all samples of a manifest: label, probabilities, conflict, abstention. Unreadable rows are reported."""
    from model.predict_files import predict_manifest

    if device not in ("cpu", "cuda", "auto"):
        raise output.UsageError(f"There is no device {device}.", "There are cpu, cuda and auto.")
    folders = dict(SHIPPED) if model is None else {}
    folders |= dict(_model_for(model_for))
    model_of = _ModelByTask(folders, model, device)
    count = failed = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as lines:
        for row in predict_manifest(manifest, model_of):
            lines.write(json_lines.dumps(row, ensure_ascii=False) + "\n")
            count, failed = count + 1, failed + ("error" in row)
    if json:
        output.print_json({"file": str(out), "predictions": count, "errors": failed})
    else:
        output.note(f"{out}: {count} predictions, {failed} of them errors")


class _ModelByTask:
    """Loads the model of a task when it is first needed."""

    def __init__(self, folders: dict[str, Path], default: Path | None, device: str) -> None:
        self._folders, self._default, self._device = folders, default, device
        self._loaded: dict[tuple[Path, str], FusionModel] = {}
        self._tasks: dict[Path, tuple[str, ...]] = {}

    def __call__(self, task: str) -> FusionModel | str:
        """Return the model for a task, or why there is none."""
        from model.checkpoint import checkpoint_tasks

        folder = self._folders.get(task, self._default)
        if folder is None:
            return f"no model for the task {task[:40]}: give one with --model-for"
        if folder not in self._tasks:
            self._tasks[folder] = checkpoint_tasks(folder)
        tasks = self._tasks[folder]
        if tasks and task not in tasks:
            return f"{folder} knows the tasks {', '.join(tasks)}, not {task[:40]}"
        # A model of several tasks has a head for each; any other model serves every task.
        key = (folder, task if tasks else "")
        if key not in self._loaded:
            self._loaded[key] = load_model.load_model(folder, self._device, task)
        return self._loaded[key]


def predict_stream(
    events: Annotated[Path, typer.Option(help="The records of a stream in order of arrival (…events.jsonl).")],
    audio: Annotated[Path, typer.Option(help="The mix of the microphone (…audio.json).")],
    root: Annotated[Path, typer.Option(help="The folder of the data sets that both files refer to.")],
    out: Annotated[Path, typer.Option(help="The file to write: one JSON line for each event.")],
    model: Annotated[Path | None, typer.Argument(help="A checkpoint. Default: the one that serves.")] = None,
    model_for: ModelFor = None,
    json: output.Json = False,
) -> None:
    """Detect the events of one recorded stream with the services' own alignment and fusion.

    A line: {"start", "end", "kind", "label", "confidence", "decided_at"}, in stream seconds, as the event stood at the
    end; decided_at is the arrival of the record at which it first carried that label.
    """
    from services.fusion.event_detector import EventDetector
    from services.fusion.inference import Inference
    from services.offline.evaluation.dataset import read_stream_files
    from services.offline.evaluation.run_stream import final_events, run_stream

    checkpoints = dict.fromkeys(EVENT_KINDS.values(), model or load().fusion.model)
    for task, path in _model_for(model_for):
        if task not in EVENT_KINDS:
            raise output.UsageError(f"--model-for takes TASK=PATH with {' or '.join(EVENT_KINDS)}, not {task}.")
        checkpoints[EVENT_KINDS[task]] = path
    detected: list[StreamEvent] = []
    recording = read_stream_files("stream", events, audio, root)
    for path in dict.fromkeys(checkpoints.values()):
        inference = Inference(load_model.load_model(path), load_model.CACHE_BYTES_MAX)
        if not inference.model.decision:
            raise output.UsageError(
                f"{path} has no thresholds for events.", do="Use a model of streams: `braid train` chooses them."
            )
        final = final_events(run_stream(recording, inference), EventDetector.of_model(inference.model))
        detected += [event for event in final if checkpoints[event.kind] == path]
    lines = (_event_line(event) for event in sorted(detected, key=lambda event: (event.start_s, event.kind)))
    out.write_text("".join(lines), encoding="utf-8")
    if json:
        output.print_json({"file": str(out), "events": len(detected)})


def _model_for(pairs: Iterable[str] | None) -> Iterator[tuple[str, Path]]:
    for pair in pairs or ():
        task, equals, path = pair.partition("=")
        if not (task and equals and path):
            raise output.UsageError(f"--model-for takes TASK=PATH, not {pair}.")
        yield task, Path(path)


def _event_line(event: StreamEvent) -> str:
    times = f'"start": {event.start_s:.6f}, "end": {event.end_s:.6f}'
    label = f'"kind": {json_lines.dumps(event.kind)}, "label": {json_lines.dumps(event.label)}'
    return f'{{{times}, {label}, "confidence": {event.confidence:.6f}, "decided_at": {event.decided_s:.6f}}}\n'
