"""Replay a recording: media to windows, windows to predictions, predictions to events, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.contract import event
from services.contract import window as window_record
from services.contract.window import Window
from services.fusion.__main__ import decision_of
from services.fusion.event_tracker import EventTracker
from services.fusion.inference import Inference, Payloads
from services.fusion.stages import WindowPrediction
from services.offline.recording.reader import RecordingFile
from services.offline.replay.align import Alignment, Out
from services.offline.replay.baseline import Baseline
from services.offline.replay.outcome import ReplayOutcome
from services.offline.replay.settings import ReplaySettings

# What was appended so shortly before the recording's end may not have been answered by then.
UNSAID_US = 10_000_000
BATCH = 64


@dataclass(slots=True)
class ReplayResult:
    """What a replay gives; unsaid: windows that were closed too shortly before the recording's end to be in it.

    unsettled: sessions whose events go on from a state that is not in the recording; their events are not compared.
    """

    outcome: ReplayOutcome
    too_recent: set[str]
    unknown_state: set[str]


def replay(file: RecordingFile, under: ReplaySettings, recorded: Baseline, inference: Inference) -> ReplayResult:
    """Play the recording through. Raises RecordingError."""
    alignment = Alignment(under, recorded.frontiers)
    chains, digest = EventTracker(decision_of(inference)), inference.model.digest
    out = ReplayResult(ReplayOutcome(), set(), set())
    last_us = file.until_us - UNSAID_US
    met: set[str] = set()
    for outs in _batches(alignment.play(file.records(*under.topics.media_all), file.until_us)):
        values = [window_record.encode(o.window) for o in outs]
        # Read back from its bytes, as the fusion worker does: the order of modalities in a prediction follows theirs.
        windows = [recorded.with_recorded_mutes(window_record.decode(value)) for value in values]
        answers = _predict(inference, windows, alignment.payloads)
        for value, window, predicted in zip(values, windows, answers, strict=True):
            out.outcome.windows[window.id] = value
            out.outcome.predictions[window.id] = predicted.record
            if window.closed_us > last_us:
                out.too_recent.add(window.id)
            if window.session not in met:
                met.add(window.session)
                _go_on(window, chains, recorded, digest, out)
            events = chains.update(predicted)
            for e in events:
                out.outcome.events.setdefault(e.id, []).append(event.encode(e))
        alignment.release()
    out.outcome.fates, out.outcome.open_windows = alignment.refused, alignment.open
    return out


def _go_on(window: Window, chains: EventTracker, recorded: Baseline, digest: str, out: ReplayResult) -> None:
    """Give a session whose windows follow earlier ones the state that it had then."""
    if window.previous_us is not None:
        state = recorded.states.get((window.session, digest))
        if state is None or state.last_us != window.previous_us:
            out.unknown_state.add(window.session)
        else:
            chains.states[window.session] = state


def _batches(lots: Iterator[list[Out]]) -> Iterator[list[Out]]:
    """Whole lots together, so that no window waits whose payloads are released."""
    batch: list[Out] = []
    for lot in lots:
        batch += lot
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict(inference: Inference, windows: Sequence[Window], found: Payloads) -> list[WindowPrediction]:
    """Predictions in the model's own batches; one on which the model fails is answered as the worker does."""
    try:
        size = inference.model.batch_windows
        return [
            predicted
            for at in range(0, len(windows), size)
            for predicted in inference.predict(windows[at : at + size], found)
        ]
    except (RuntimeError, ValueError, MemoryError, ArithmeticError, LookupError, TypeError) as error:
        if len(windows) == 1:
            return [inference.failed_prediction(windows[0], type(error).__name__)]
        half = len(windows) // 2
        return [*_predict(inference, windows[:half], found), *_predict(inference, windows[half:], found)]
