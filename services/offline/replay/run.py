"""Replay a recording: media to windows, windows to predictions, predictions to events, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.contract import event
from services.contract import window as window_record
from services.contract.window import Window
from services.fusion.event_detector import EventDetector
from services.fusion.event_tracker import EventTracker
from services.fusion.inference import Inference
from services.offline.driver import RecordingDriver, TimedWindow
from services.offline.recording.reader import RecordingFile
from services.offline.replay.baseline import Baseline, ReplayOutcome
from services.offline.replay.settings import ReplaySettings

# Windows that close so shortly before the recording's end may not have been predicted by then.
RECENT_US = 10_000_000
BATCH = 64


@dataclass(slots=True)
class ReplayResult:
    """What a replay gives.

    Attributes:
        outcome: The windows, predictions and events.
        too_recent: Windows that closed too shortly before the recording's end to be in it.
        unknown_state: Sessions whose events continue a state that is not in the recording; they are not compared.
    """

    outcome: ReplayOutcome
    too_recent: set[str]
    unknown_state: set[str]


def replay(file: RecordingFile, settings: ReplaySettings, baseline: Baseline, inference: Inference) -> ReplayResult:
    """Play a recording through alignment and fusion.

    Raises:
        RecordingError: The recording cannot be read.
    """
    driver = RecordingDriver(
        settings.alignment,
        settings.idle_timeouts,
        settings.topics,
        settings.partitions,
        baseline.frontiers,
        settings.writes_idle_records,
        file.signer,
        baseline.generations,
    )
    tracker, digest = EventTracker(EventDetector.of_model(inference.model)), inference.model.digest
    result = ReplayResult(ReplayOutcome(), set(), set())
    last_us = file.until_us - RECENT_US
    known: set[str] = set()
    for batch in _batches(driver.play(file.records(*settings.topics.media_all), file.until_us)):
        records = [window_record.encode(timed.window) for timed in batch]
        # Decoded from its record, as in the fusion worker: the order of a prediction's modalities follows the record's.
        windows = [baseline.with_recorded_mutes(window_record.decode(record)) for record in records]
        predictions = inference.predict(windows, driver.payloads)
        for record, window, predicted in zip(records, windows, predictions, strict=True):
            result.outcome.windows[window.id] = record
            result.outcome.predictions[window.id] = predicted.record
            if window.closed_us > last_us:
                result.too_recent.add(window.id)
            if window.generation_id not in known:
                known.add(window.generation_id)
                _restore_state(window, tracker, baseline, digest, result)
            for e in tracker.update(predicted):
                result.outcome.events.setdefault(e.id, []).append(event.encode(e))
        driver.release_payloads()
    result.outcome.fates, result.outcome.open_windows = driver.fates, driver.open_windows
    return result


def _restore_state(
    window: Window, tracker: EventTracker, baseline: Baseline, digest: str, result: ReplayResult
) -> None:
    """Give a session whose windows follow earlier ones the state that it had then."""
    if window.previous_us is not None:
        state = baseline.states.get((window.generation_id, digest))
        if state is None or state.last_us != window.previous_us:
            result.unknown_state.add(window.session)
        else:
            tracker.states[window.generation_id] = state


def _batches(steps: Iterator[list[TimedWindow]]) -> Iterator[list[TimedWindow]]:
    """Join whole steps, so that no window waits whose payloads are released."""
    batch: list[TimedWindow] = []
    for windows in steps:
        batch += windows
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
