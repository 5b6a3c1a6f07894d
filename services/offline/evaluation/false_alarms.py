"""False alarms: events that are detected in streams in which nothing happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.data.background_streams import SECONDS, background_streams
from model.data.splits import Split
from services.contract import event
from services.fusion.event_detector import EventDetector
from services.fusion.inference import Inference
from services.fusion.stage_values import WindowPrediction
from services.offline.evaluation.dataset import RecordedStream
from services.offline.evaluation.run_stream import StreamRun, detect_events, run_stream

HOURS = 2.0


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Events of background streams.

    final: final events; withdrawn: provisional events that no final one confirmed; by_modality, by_label: the final
    ones by the modality with the strongest evidence for them, and by label.
    """

    hours: float
    final: int
    withdrawn: int
    by_modality: dict[str, int]
    by_label: dict[str, int]

    @property
    def per_hour(self) -> float:
        """Final events an hour."""
        return self.final / self.hours

    def as_json(self) -> dict[str, Any]:
        """Return the counts as the command line prints them with --json."""
        return {
            "hours": self.hours,
            "final": self.final,
            "withdrawn": self.withdrawn,
            "by_sense": self.by_modality,
            "by_label": self.by_label,
            "per_hour": round(self.per_hour, 3),
        }


def run_background_streams(
    inference: Inference, data: Path, part: Split, seed: int, seconds: float
) -> Iterator[StreamRun]:
    """Run background streams of `seconds` in all through alignment and fusion."""
    each_s = min(SECONDS, round(seconds))
    for quiet in background_streams(data, part, seed, max(round(seconds / each_s), 1), each_s):
        yield run_stream(RecordedStream(quiet.name, quiet.messages, quiet.sound), inference)


def count_false_alarms(played: Iterable[StreamRun], decision: EventDetector, hours: float) -> FalseAlarms:
    """Count the events that a detector finds in background streams."""
    final, withdrawn = 0, 0
    by_sense: Counter[str] = Counter()
    by_label: Counter[str] = Counter()
    for offline in played:
        detected = [timed.event for timed in detect_events(offline, decision)]
        withdrawn += event.count_provisional(detected)[1]
        by_id = {p.id: p for p in offline.predictions}
        new = [e for e in detected if e.final and e.lifecycle == "new"]
        final += len(new)
        by_label.update(e.label for e in new)
        by_sense.update(_loudest(by_id[e.prediction], e.label) for e in new)
    return FalseAlarms(hours, final, withdrawn, dict(by_sense), dict(by_label))


def measure_false_alarms(
    inference: Inference, decision: EventDetector, data: Path, hours: float = HOURS, seed: int = 1, part: Split = "test"
) -> FalseAlarms:
    """Run and count; by default on the split that chose nothing."""
    return count_false_alarms(run_background_streams(inference, data, part, seed, hours * 3600), decision, hours)


def _loudest(predicted: WindowPrediction, label: str) -> str:
    """The modality that by itself raises this label most."""
    at = predicted.labels.index(label)
    raised = {m: predicted.rows[1 << i, at] - predicted.rows[0, at] for i, m in enumerate(predicted.modalities)}
    return max(raised, key=lambda m: raised[m])
