"""Compare a replay with the recorded outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from services.contract import canonical, prediction
from services.contract.partitioner import partition_of
from services.contract.topics import Topics
from services.fusion.inference import Inference
from services.offline.recording.reader import RecordingFile
from services.offline.replay import baseline as recorded_outcome
from services.offline.replay.baseline import NEVER_US, Baseline, ReplayOutcome
from services.offline.replay.diff import Kind, OutcomeDiff, ReplayChanges, diff_outcomes
from services.offline.replay.run import ReplayResult, replay
from services.offline.replay.settings import ReplaySettings

KINDS: tuple[Kind, ...] = ("window", "prediction", "event")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A replay, what it is compared with, and the difference.

    Attributes:
        name: The recording, or the folder of the case.
        cause: What was changed on purpose.
        model: The model of the replay.
        outcome: The replayed outcome.
        expected: The outcome that it is compared with.
        diff: The difference.
        early: How many recorded early predictions there are, which are never compared.
        troubles: What is wrong with the recording itself.
        chosen: True if the user chose the model.
    """

    name: str
    cause: ReplayChanges
    model: str
    outcome: ReplayOutcome
    expected: ReplayOutcome
    diff: OutcomeDiff
    early: int
    troubles: tuple[str, ...]
    chosen: bool = False

    @property
    def ok(self) -> bool:
        """False if something differs that no change explains."""
        asked_for = bool(self.cause.settings) or (self.chosen and bool(self.cause.model))
        return not self.troubles and (asked_for or self.diff.same_bytes)

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as `braid replay --json` prints it."""
        fields = {
            f"{kind}s": {
                "identical": self.diff.identical[kind],
                "alike": self.diff.alike[kind],
                "uncompared": self.diff.uncompared[kind],
                **{how: sum(d.how == how for d in self.diff.of(kind)) for how in ("changes", "appears", "vanishes")},
            }
            for kind in KINDS
        }
        return {
            "recording": self.name,
            "settings": list(self.cause.settings),
            "model": self.cause.model or self.model,
            "identical": self.diff.same_bytes,
            "ok": self.ok,
            "first_answers_not_compared": self.early,
            "troubles": list(self.troubles),
            "differences": [asdict(d) for d in self.diff.differences],
            **fields,
        }


def model_label(model: dict[str, str]) -> str:
    """Return a model's name, version and short digest."""
    return f"{model['name']} {model['version']} ({model['digest'][:12]})"


def recorded_model_digest(file: RecordingFile, topics: Topics) -> str | None:
    """Return the digest of the model of the newest final prediction, None if there is none.

    Raises:
        RecordingError: The recording cannot be read.
    """
    found = None
    for record in file.records(topics.predictions):
        fields = prediction.decode_or_none(record.value)
        if fields is not None and fields["final"] and "model" in fields:
            found = str(fields["model"]["digest"])
    return found


def compare_with_recording(
    file: RecordingFile,
    under: ReplaySettings,
    inference: Inference,
    *,
    chosen: bool = False,
) -> Comparison:
    """Replay a recording and compare the outcome with the recorded one; chosen: the user chose the model.

    Raises:
        RecordingError: The recording cannot be read.
    """
    model = inference.model
    ours = {"name": model.name, "version": model.version, "digest": model.digest}
    recorded = recorded_outcome.read_baseline(file, under.topics, model.digest)
    replayed = replay(file, under, recorded, inference)
    others = _other_models(recorded.outcome, model.digest)
    cause = ReplayChanges(under.changes, f"model {', '.join(others)} -> {model_label(ours)}" if others else "")
    windows = _uncompared(recorded, replayed, under.partitions)
    out = diff_outcomes(recorded.outcome, replayed.outcome, cause, (windows, replayed.unknown_state))
    return Comparison(
        name=str(file.path),
        cause=cause,
        model=model_label(ours),
        outcome=replayed.outcome,
        expected=recorded.outcome,
        diff=out,
        early=recorded.early,
        troubles=tuple(recorded.troubles),
        chosen=chosen,
    )


def _other_models(recorded: ReplayOutcome, digest: str) -> list[str]:
    models = (prediction.decode(raw)["model"] for raw in recorded.predictions.values())
    return sorted({model_label(model) for model in models if model["digest"] != digest})


def _uncompared(recorded: Baseline, replayed: ReplayResult, partitions: int) -> set[str]:
    """Windows that only one side can have, because they are too near either end of the recording."""
    out = recorded.incomplete | {id for id in replayed.too_recent if id not in recorded.outcome.windows}
    out |= {id for id in replayed.too_recent if id not in recorded.outcome.predictions}
    for id, raw in replayed.outcome.windows.items():
        if id not in recorded.outcome.windows:
            window = canonical.loads_object(raw)
            number = partition_of(window["session"].encode(), partitions)
            if window["closed_us"] < recorded.from_us.get(number, -NEVER_US):
                out.add(id)
    for raws in recorded.outcome.events.values():
        answered = (str(canonical.loads_object(raw)["prediction"]).rpartition("@")[0] for raw in raws)
        out |= {id for id in answered if id not in recorded.outcome.windows}
    return out
