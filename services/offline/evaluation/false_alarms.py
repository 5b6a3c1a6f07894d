"""False alarms: what is said of streams in which nothing happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model.data.background_streams import SECONDS, quiet_streams
from model.data.splits import Part
from services.fusion.event_detector import Decision
from services.fusion.inference import Inference
from services.fusion.stages import Predicted
from services.offline.evaluation.dataset import Recording
from services.offline.evaluation.run_stream import Offline, events, run

HOURS = 2.0


@dataclass(frozen=True, slots=True)
class Alarms:
    """Events said of quiet streams: final ones, provisional ones that no final one confirmed, and the final ones by
    the sense that spoke most for them and by label."""

    hours: float
    final: int
    withdrawn: int
    by_sense: dict[str, int]
    by_label: dict[str, int]

    @property
    def per_hour(self) -> float:
        return self.final / self.hours


def play(inference: Inference, data: Path, part: Part, seed: int, seconds: float) -> Iterator[Offline]:
    """Quiet streams of so many seconds in all, through alignment and fusion."""
    each_s = min(SECONDS, round(seconds))
    for quiet in quiet_streams(data, part, seed, max(round(seconds / each_s), 1), each_s):
        yield run(Recording(quiet.name, quiet.messages, quiet.sound), inference)


def alarms(played: Iterable[Offline], decision: Decision, hours: float) -> Alarms:
    """Count what a decision says of quiet streams."""
    final, withdrawn = 0, 0
    by_sense: Counter[str] = Counter()
    by_label: Counter[str] = Counter()
    for offline in played:
        said = [decided.event for decided in events(offline, decision)]
        confirmed = {(e.id, e.label) for e in said if e.final}
        withdrawn += len({(e.id, e.label) for e in said if not e.final} - confirmed)
        by_id = {p.id: p for p in offline.predictions}
        begun = [e for e in said if e.final and e.lifecycle == "new"]
        final += len(begun)
        by_label.update(e.label for e in begun)
        by_sense.update(_loudest(by_id[e.prediction], e.label) for e in begun)
    return Alarms(hours, final, withdrawn, dict(by_sense), dict(by_label))


def quiet(
    inference: Inference, decision: Decision, data: Path, hours: float = HOURS, seed: int = 1, part: Part = "test"
) -> Alarms:
    """Play and count; parts of the sets that chose nothing, unless told otherwise."""
    return alarms(play(inference, data, part, seed, hours * 3600), decision, hours)


def _loudest(predicted: Predicted, label: str) -> str:
    """The sense that by itself raises this label most."""
    at = predicted.labels.index(label)
    raised = {m: predicted.rows[1 << i, at] - predicted.rows[0, at] for i, m in enumerate(predicted.senses)}
    return max(raised, key=lambda m: raised[m])
