"""A fusion worker in virtual time: the real event tracking and recovery around a model of plain arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np

from services.contract import event as event_record
from services.contract import prediction
from services.contract.prediction import STATE_HEADER, ModalityContribution, PredictionResult
from services.contract.window import Window
from services.fusion.batching import Batcher, BatchTimeModel
from services.fusion.event_detector import DetectorState, EventDetector
from services.fusion.event_tracker import EventTracker, detector_input
from services.fusion.fair_queue import QueuedWindow
from services.fusion.recovery import UNREAD_US, keep_newest, look_back_us, state_of
from services.fusion.stage_values import WindowPrediction
from tests.simulation.broker import UNIT_US, Broker, Place, PublishedPrediction

MODEL = {"name": "arithmetic", "version": "1", "digest": "0123456789ab"}
LABELS = ("nothing", "4", "7", "dog")
DECISION = EventDetector(
    nothing="nothing",
    kinds={"4": "digit", "7": "digit", "dog": "sound"},
    weight=0.6,
    on=0.5,
    off=0.3,
    since=0.5,
    change_us=8 * UNIT_US,
    lead_us=4 * UNIT_US,
    expires_us=50 * UNIT_US,
    gap_us=40 * UNIT_US,
)
BATCH_WINDOWS = 3


def predict(window: Window, payload: Callable[[Place], bytes]) -> WindowPrediction:
    """Predict from the window and its payloads; the model fails on some windows."""
    members = [(m, x) for m, lane in window.modalities.items() for x in lane.members if not x.alive]
    bodies = [payload((m, x.partition, x.offset)) for m, x in members]
    for (_, member), body in zip(members, bodies, strict=True):
        assert hashlib.sha256(body).hexdigest() == member.sha256, "another payload than the window names"
    drawn = int(hashlib.sha256(b"".join(bodies)).hexdigest(), 16) % 97
    label = LABELS[(window.start_us // (12 * UNIT_US) + (drawn > 70)) % len(LABELS)]
    failed = drawn % 23 == 0
    p = 0.5 + drawn / 200
    rest = "dog" if label != "dog" else "4"
    top = () if failed else ((label, p), (rest, round(1 - p, 6)))
    answer = PredictionResult(
        None if failed else label, p, 0.0, 0.0, top, 0.0, None, False, "failed" if failed else None
    )
    senses = {m: ModalityContribution(lane.state, lane.evidence, None, 0.0) for m, lane in window.modalities.items()}
    id = prediction.prediction_id(window.id, MODEL["digest"], failed=failed)
    return WindowPrediction(id, window, prediction.encode(window, answer, senses, MODEL), answer, np.zeros(0), ())


def expected(
    windows: Iterable[Window], payload: Callable[[Place], bytes]
) -> tuple[dict[str, tuple[bytes, bytes]], set[bytes]]:
    """Return the results of a worker that never stops: value and state by prediction id, and events; windows by start."""
    states: dict[str, DetectorState] = {}
    predictions: dict[str, tuple[bytes, bytes]] = {}
    events: set[bytes] = set()
    for window in windows:
        predicted = predict(window, payload)
        state = b""
        if predicted.result.label is not None:
            id = window.generation_id
            states[id], news = DECISION.update(states.get(id), detector_input(predicted))
            state = states[id].encode()
            events |= {event_record.encode(e) for e in news}
        predictions[predicted.id] = predicted.record, state
    return predictions, events


class FusionWorker:
    """One worker between two starts; `crash` is called between any two effects and may raise."""

    def __init__(self, broker: Broker, tail_ms: int, future_us: int) -> None:
        self._broker, self._future_us = broker, future_us
        self.position = broker.predicted_to
        self.chains = EventTracker(DECISION)
        self._read_since_us = UNREAD_US
        if self.position < len(broker.windows):
            self._read_since_us = (broker.windows[self.position][0] - tail_ms) * 1000
            self._read_states()

    def step(self, clock_ms: int, count: int, crash: Callable[[], None]) -> None:
        """Predict the next windows."""
        windows = [window for _, window in self._broker.windows[self.position : self.position + count]]
        since_us = look_back_us(windows, self.chains.states, self._read_since_us, self._future_us)
        if since_us is not None:
            self._read_since_us = since_us
            self._read_states()
        batcher = Batcher(BATCH_WINDOWS, BatchTimeModel())
        batcher.add([QueuedWindow(0, n, clock_ms, window, 0) for n, window in enumerate(windows)], clock_ms * 1000)
        while (released := batcher.next_batch(clock_ms * 1000, 0, self.chains.last_final_us, drain=True)) is not None:
            predictions = []
            for window in (q.window for q in released.windows):
                predicted = predict(window, self._broker.payload)
                events = self.chains.update(predicted)
                final = window.final and predicted.result.label is not None
                predictions.append(
                    (predicted, events, self.chains.states[window.generation_id].encode() if final else b"")
                )
            for _, events, _ in predictions:
                for e in events:
                    if e.final:
                        self._broker.events.append(event_record.encode(e))
                    crash()
            for predicted, _, state in predictions:
                headers = [(STATE_HEADER, state)] if state else []
                published = PublishedPrediction(clock_ms, predicted.record, headers)
                self._broker.predictions.append(published)
                crash()
        self.position += len(windows)

    def _read_states(self) -> None:
        read = False
        for published in self._broker.predictions:
            read = read or published.timestamp * 1000 >= self._read_since_us // 1000 * 1000
            if read:
                found = state_of(published.headers, published.value, MODEL["digest"])
                if found is not None:
                    keep_newest(self.chains.states, *found)
