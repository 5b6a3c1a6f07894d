"""One recorded stream, offline: its windows, predictions and events, as the services would make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.aligner.idleness import Patience
from services.contract import cloudevents
from services.contract.alignment_config import Semantics
from services.contract.cloudevents import Envelope
from services.contract.event import Event, event_id
from services.contract.record import MemberPosition
from services.contract.window import Window
from services.fusion.event_detector import EventDetector
from services.fusion.event_tracker import EventTracker
from services.fusion.inference import Inference, Payloads
from services.fusion.stages import WindowPrediction
from services.offline.driver import OfflineLog, Out
from services.offline.evaluation.dataset import RecordedStream
from services.offline.evaluation.event_scoring import DetectedEvent
from services.storage.payload_cache import Payload

ORIGIN_US = 1_700_000_000_000_000
# Texts of the recorded streams come up to 6.5 s late.
PATIENCE = Patience({"text": 6_500_000, "video": 1_000_000, "audio": 700_000}, 3_000_000, 300_000)


@dataclass(frozen=True, slots=True)
class StreamRun:
    """Windows in the order in which they came out, and the prediction of each."""

    windows: Sequence[Out]
    predictions: Sequence[WindowPrediction]


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event record and the moment (arrival clock, us) at which it was said."""

    at_us: int
    event: Event


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """A decided event as it stood at the end (stream seconds).

    decided_s: the arrival of the record (a silence's tick is one, and arrives when it is written) at which the event
    first carried this label, provisionally or not.
    """

    start_s: float
    end_s: float
    kind: str
    label: str
    confidence: float
    decided_s: float


def run_stream(recording: RecordedStream, inference: Inference) -> StreamRun:
    """Play a whole recording in virtual time; nothing but silence says that it is over."""
    log = OfflineLog(Semantics(), PATIENCE)
    outs = list(log.play(recording.name, list(recording.all_records(recording.name, ORIGIN_US)), ORIGIN_US))
    return StreamRun(outs, predict(inference, outs, payloads(log)))


def detect_events(offline: StreamRun, decision: EventDetector) -> list[TimedEvent]:
    """Every event record that the fusion worker would publish, in order, and what still goes on at the end."""
    chains = EventTracker(decision)
    found = [
        TimedEvent(out.at_us, event)
        for out, predicted in zip(offline.windows, offline.predictions, strict=True)
        for event in chains.update(predicted)
    ]
    for session, state in chains.states.items():
        if state.open is not None:  # no record has said yet how far it has come
            last = next(d for d in reversed(found) if d.event.id == event_id(session, state.open.first_us))
            so_far = replace(last.event, end_us=state.open.end_us, confidence=state.open.confidence, final=True)
            found.append(TimedEvent(last.at_us, replace(so_far, lifecycle="update")))
    return found


def final_events(offline: StreamRun, decision: EventDetector) -> list[StreamEvent]:
    """The events that final predictions led to, each once, in order of start."""
    first: dict[tuple[str, str], int] = {}
    last: dict[str, Event] = {}
    for decided in detect_events(offline, decision):
        e = decided.event
        first.setdefault((e.id, e.label), decided.at_us)
        if e.final:
            last[e.id] = e
    rising = sorted(last.values(), key=lambda e: (e.start_us, e.id))
    return [
        StreamEvent(_s(e.start_us), _s(e.end_us), e.kind, e.label, e.confidence, _s(first[e.id, e.label]))
        for e in rising
    ]


def detected_events(offline: StreamRun, decision: EventDetector) -> list[DetectedEvent]:
    """The same as the scorer takes them."""
    return [DetectedEvent(t.start_s, t.kind, t.label, t.decided_s) for t in final_events(offline, decision)]


def _s(time_us: int) -> float:
    return (time_us - ORIGIN_US) / 1e6


def payloads(log: OfflineLog) -> Payloads:
    """Every payload of an offline log by its place."""
    found: dict[MemberPosition, Payload] = {}
    for modality, records in log.records.items():
        for record in records:
            read = cloudevents.unwrap(record.headers, record.value)
            if record.key is not None and isinstance(read, Envelope):
                found[MemberPosition(modality, 0, record.offset)] = Payload(read.get("content-type"), read.payload)
    return found


def predict(inference: Inference, outs: Sequence[Out], found: Payloads) -> list[WindowPrediction]:
    """The predictions of windows, in their order, in batches of the model's own size."""
    size = inference.model.batch_windows
    out: list[WindowPrediction] = []
    for at in range(0, len(outs), size):
        windows: list[Window] = [o.window for o in outs[at : at + size]]
        out += inference.predict(windows, found)
    return out
