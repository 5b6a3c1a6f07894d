"""One recorded stream, offline: its windows, predictions and events, as the services would make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.aligner.idleness import IdleTimeouts
from services.contract.alignment_config import AlignmentConfig
from services.contract.event import Event, event_id
from services.fusion.event_detector import EventDetector
from services.fusion.event_tracker import EventTracker
from services.fusion.inference import Inference
from services.fusion.stage_values import WindowPrediction
from services.offline.driver import StreamDriver, TimedWindow
from services.offline.evaluation.dataset import RecordedStream
from services.offline.evaluation.event_scoring import DetectedEvent

ORIGIN_US = 1_700_000_000_000_000
# Texts of the recorded streams come up to 6.5 s late.
IDLE_TIMEOUTS = IdleTimeouts({"text": 6_500_000, "video": 1_000_000, "audio": 700_000}, 3_000_000, 300_000)


@dataclass(frozen=True, slots=True)
class StreamRun:
    """The windows of a stream in the order in which they came out, and the prediction of each."""

    windows: Sequence[TimedWindow]
    predictions: Sequence[WindowPrediction]


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event record and the virtual time (us) at which it was published."""

    at_us: int
    event: Event


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """A final event as it stood at the end (stream seconds).

    decided_s: the arrival of the record with which the event first carried this label, provisionally or not; an idle
    record arrives when it is written.
    """

    start_s: float
    end_s: float
    kind: str
    label: str
    confidence: float
    decided_s: float


def run_stream(stream: RecordedStream, inference: Inference) -> StreamRun:
    """Play a whole stream in virtual time; only silence says that it is over."""
    driver = StreamDriver(AlignmentConfig(), IDLE_TIMEOUTS)
    windows = list(driver.play(stream.name, stream.all_records(stream.name, ORIGIN_US), ORIGIN_US))
    return StreamRun(windows, inference.predict([timed.window for timed in windows], driver.payloads))


def detect_events(run: StreamRun, detector: EventDetector) -> list[TimedEvent]:
    """Return every event record that the fusion worker would publish, and the last state of what goes on at the end."""
    tracker = EventTracker(detector)
    detected = [
        TimedEvent(timed.at_us, event)
        for timed, predicted in zip(run.windows, run.predictions, strict=True)
        for event in tracker.update(predicted)
    ]
    for session, state in tracker.states.items():
        if state.open is not None:  # no record says yet how far it has come
            last = next(d for d in reversed(detected) if d.event.id == event_id(session, state.chain_us, state.events))
            so_far = replace(last.event, end_us=state.open.end_us, confidence=state.open.confidence, final=True)
            detected.append(TimedEvent(last.at_us, replace(so_far, lifecycle="update")))
    return detected


def final_events(run: StreamRun, detector: EventDetector) -> list[StreamEvent]:
    """Return the events that final predictions led to, each once, in order of start."""
    first: dict[tuple[str, str], int] = {}
    last: dict[str, Event] = {}
    for timed in detect_events(run, detector):
        e = timed.event
        if e.lifecycle == "withdrawn":
            first = {key: at_us for key, at_us in first.items() if key[0] != e.id}
            continue
        first.setdefault((e.id, e.label), timed.at_us)
        if e.final:
            last[e.id] = e
    by_start = sorted(last.values(), key=lambda e: (e.start_us, e.id))
    return [
        StreamEvent(_s(e.start_us), _s(e.end_us), e.kind, e.label, e.confidence, _s(first[e.id, e.label]))
        for e in by_start
    ]


def detected_events(run: StreamRun, detector: EventDetector) -> list[DetectedEvent]:
    """Return the final events in the form that is scored."""
    return [DetectedEvent(e.start_s, e.kind, e.label, e.decided_s) for e in final_events(run, detector)]


def _s(time_us: int) -> float:
    return (time_us - ORIGIN_US) / 1e6
