"""The summary of a demo run: scores, latencies, and whether every promise holds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.contract import event
from services.contract.event import Event
from services.contract.prediction import DIGITS
from services.fusion.event_detector import DetectorInput, DetectorState, EventDetector
from services.fusion.inference import Inference
from services.fusion.stage_values import WindowPrediction
from services.inspection.audit.ledger import Ledger
from services.inspection.audit.recompute_predictions import RecomputedPredictions
from services.local.demo.watch import ObservedOutputs
from services.offline.evaluation.event_scoring import (
    DetectedEvent,
    EventScore,
    is_hit,
    read_truth,
    score_events,
    sum_scores,
)
from services.offline.evaluation.kafka_player import PlaybackSchedule

# Texts of the recorded streams arrive up to 6.5 s after what they describe.
TEXT_IDLE_TIMEOUT_MS = 6_500


@dataclass(frozen=True, slots=True)
class StreamTruths:
    """The true events of the streams that the sessions play."""

    data: Path
    streams: Mapping[str, str]

    def score(
        self, detected: Callable[[str], Sequence[DetectedEvent]], schedule: PlaybackSchedule, kind: str | None = None
    ) -> EventScore:
        """Score the events detected in each session, over the part that was played."""
        span_s = schedule.from_us / 1e6, schedule.to_us / 1e6
        return sum_scores(
            [
                score_events(detected(session), self._truth(stream), *span_s, kind)
                for session, stream in self.streams.items()
            ]
        )

    def delays_s(self, events: Sequence[tuple[int, Event]], schedule: PlaybackSchedule) -> list[float]:
        """Return, for each event that was played whole, the time from its start to the first right record, early or final."""
        delays = []
        for session, stream in self.streams.items():
            detected = [_detected(at_ms, e, schedule) for at_ms, e in events if e.session == session]
            for true in self._truth(stream):
                if schedule.from_us / 1e6 <= true.start_s and true.end_s <= schedule.to_us / 1e6:
                    hits = [event.decided_s for event in detected if is_hit(event, true)]
                    if hits:
                        delays.append(min(hits) - true.start_s)
        return delays

    def _truth(self, stream: str) -> Any:
        return read_truth(self.data / "homestream" / f"{stream}.truth.json")


def final_events(events: Sequence[tuple[int, Event]], session: str, schedule: PlaybackSchedule) -> list[DetectedEvent]:
    """Return the events of a session as they ended, each with the time of the first record with that label."""
    first: dict[tuple[str, str], int] = {}
    last: dict[str, Event] = {}
    for at_ms, e in events:
        if e.session == session and e.lifecycle == "withdrawn":
            first = {key: known_ms for key, known_ms in first.items() if key[0] != e.id}
        elif e.session == session:
            first.setdefault((e.id, e.label), at_ms)
            if e.final and e.lifecycle != "end":
                last[e.id] = e
    return [_detected(first[e.id, e.label], e, schedule) for e in last.values()]


def single_modality_events(
    modality: str,
    predictions: Sequence[WindowPrediction],
    inference: Inference,
    detector: EventDetector,
    schedule: PlaybackSchedule,
) -> dict[str, list[DetectedEvent]]:
    """Return by session the events that one modality alone would have led to, from the same windows."""
    by_session: dict[str, list[DetectedEvent]] = {}
    states: dict[str, DetectorState] = {}
    detected: list[tuple[int, Event]] = []
    for p in sorted(predictions, key=lambda p: (p.window.session, p.window.start_us)):
        w = p.window
        present = frozenset([modality] if w.modalities[modality].state == "present" else [])
        e = inference.explain(p.rows, present)
        top = tuple((label, round(q, DIGITS)) for label, q in e.top)
        window_input = DetectorInput(p.id, w.session, w.start_us, w.end_us, w.previous_us, top, abstained=e.abstained)
        states[w.session], events = detector.update(states.get(w.session), window_input)
        detected += [(0, event) for event in events]
    for session in states:
        by_session[session] = final_events(detected, session, schedule)
    return by_session


def measure_latencies(
    outputs: ObservedOutputs, ledger: Ledger, schedule: PlaybackSchedule
) -> dict[str, dict[str, float]]:
    """Return percentiles of latency in ms: first and final from the end of a window, own from its closing record."""
    closed_ms = {(w.session, w.start_us): w.closed_us / 1000 for w, _, _ in ledger.windows.values()}
    ends_ms = {
        (w.session, w.start_us): schedule.wall_us(w.end_us - schedule.origin_us) / 1000
        for w, _, _ in ledger.windows.values()
    }
    return {
        "first": _percentiles([at - ends_ms[key] for key, at in outputs.first_ms.items() if key in ends_ms]),
        "final": _percentiles([at - ends_ms[key] for key, at in outputs.final_ms.items() if key in ends_ms]),
        "own": _percentiles([at - closed_ms[key] for key, at in outputs.final_ms.items() if key in closed_ms]),
    }


def summarize(
    truths: StreamTruths,
    schedule: PlaybackSchedule,
    outputs: ObservedOutputs,
    ledger: Ledger,
    recomputed: RecomputedPredictions,
    inference: Inference,
    detector: EventDetector,
) -> dict[str, Any]:
    """Return the numbers of a run as one JSON object."""
    found = list(recomputed.by_window.values())
    singles = {}
    for modality in inference.model.modalities:
        alone = single_modality_events(modality, found, inference, detector, schedule)
        singles[modality] = round(truths.score(lambda s, a=alone: a.get(s, []), schedule).f1, 3)  # type: ignore[misc]

    def by(kind: str | None) -> EventScore:
        return truths.score(lambda s: final_events(outputs.events, s, schedule), schedule, kind)

    delays_s = truths.delays_s(outputs.events, schedule)
    provisional, withdrawn = event.count_provisional(e for _, e in outputs.events)
    return {
        "books": ledger.as_json(),
        "books_balance": ledger.balanced,
        "windows": len(ledger.windows),
        "windows_early": ledger.early_windows,
        "windows_wrong": ledger.windows_wrong,
        "windows_repeated": ledger.copies,
        "predictions": len(outputs.final_ms),
        "predictions_checked": recomputed.checked,
        "predictions_repeated": recomputed.copies,
        "event_f1": {kind or "overall": round(by(kind).f1, 3) for kind in (None, "digit", "sound")},
        "events": {"reported": by(None).detected, "true": by(None).true, "hits": by(None).hits},
        "best_single_modality_event_f1": max(singles.values()),
        "single_modality_event_f1": singles,
        "event_delay_s": round(statistics.median(delays_s), 2) if delays_s else None,
        "provisional": {"reported": provisional, "withdrawn": withdrawn},
        "latency_ms": measure_latencies(outputs, ledger, schedule),
        "troubles": (ledger.troubles + recomputed.troubles)[:20],
    }


def _detected(at_ms: int, e: Event, schedule: PlaybackSchedule) -> DetectedEvent:
    decided_us = at_ms * 1000 - schedule.wall_us(0)
    if schedule.speed != 1:
        decided_us = schedule.from_us + int((at_ms * 1000 - schedule.begins_wall_us) * schedule.speed)
    return DetectedEvent((e.start_us - schedule.origin_us) / 1e6, e.kind, e.label, decided_us / 1e6)


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"p50": 0.0, "p99": 0.0}
    rising = sorted(values)
    return {f"p{p}": round(rising[min(len(rising) * p // 100, len(rising) - 1)], 1) for p in (50, 99)}


def render(summary: Mapping[str, Any]) -> str:
    """Return the summary as lines for people."""
    ledger, ms = summary["books"], summary["latency_ms"]
    fates = ", ".join(f"{ledger[fate]} {fate}" for fate in ("windowed", "late", "duplicate", "dead", "pending"))
    timeout_ms = summary["text_idle_timeout_ms"]
    test_speed = "" if timeout_ms == TEXT_IDLE_TIMEOUT_MS else f" (test speed: text idle timeout {timeout_ms} ms)"
    lines = [
        "",
        f"{summary['streams']} streams, {summary['chunks_sent']} chunks sent, {summary['seconds']} s in all{test_speed}",
        f"fates      {ledger['admitted']} chunks = {fates}"
        + (" (one fate each)" if summary["books_balance"] else " - NOT ONE FATE EACH"),
        f"windows    {summary['windows']} final, {summary['windows_wrong']} differ from the logs; "
        f"{summary['windows_early']} predicted early",
        f"predicted  {summary['predictions']} windows; {summary['predictions_checked']} computed again, byte for byte",
        *_event_lines(summary),
        f"latency    early p50 {ms['first']['p50']:.0f} / p99 {ms['first']['p99']:.0f} ms after the end of a window; "
        f"final p50 {ms['final']['p50']:.0f} ms, of which Braid's own p99 {ms['own']['p99']:.0f} ms",
        "           (the rest of a final latency is waiting: texts of these streams come up to 6.5 s late)",
    ]
    if killed := summary.get("killed"):
        lines.append(
            f"killed     {killed['service']} with kill -9 while {killed['windows_open']} windows were open; ready again "
            f"after {killed['back_s']} s; {summary['windows_repeated']} windows and {summary['predictions_repeated']} "
            "predictions were sent twice, each time the same bytes"
        )
    return "\n".join(lines)


def _event_lines(summary: Mapping[str, Any]) -> list[str]:
    events, f1, delay_s = summary["events"], summary["event_f1"], summary["event_delay_s"]
    if not events["true"]:
        return ["events     no true event lies entirely in the part that was played: there is nothing to score"]
    return [
        f"events     F1 {f1['overall']} (digits {f1['digit']}, sounds {f1['sound']}): {events['hits']} of {events['true']} "
        f"detected, {events['reported']} reported; the best single modality reaches "
        f"{summary['best_single_modality_event_f1']}",
        "           "
        + (
            "none was detected" if delay_s is None else f"median {delay_s} s from a true start to the first right label"
        ),
    ]
