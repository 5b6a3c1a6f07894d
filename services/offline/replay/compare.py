"""A replay compared with what was recorded, and all that is to be told of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from services.contract import canonical
from services.contract.partitioner import partition_of
from services.contract.topics import Topics
from services.fusion.inference import Inference
from services.offline.recording.reader import RecordingFile
from services.offline.replay import baseline as recorded_outcome
from services.offline.replay.baseline import NEVER_US, Recorded
from services.offline.replay.diff import Cause, Diff, Kind, diff
from services.offline.replay.outcome import Outcome
from services.offline.replay.run import Replayed, replay
from services.offline.replay.settings import Under

KINDS: tuple[Kind, ...] = ("window", "prediction", "event")


@dataclass(frozen=True, slots=True)
class Compared:
    """The diff of a replay with what it is held against, and what led to it.

    early: recorded first answers, which are never compared; troubles: what is wrong with the recording itself; chosen:
    the model was asked for by name.
    """

    name: str
    cause: Cause
    model: str
    outcome: Outcome
    against: Outcome
    diff: Diff
    early: int
    troubles: tuple[str, ...]
    chosen: bool = False

    @property
    def ok(self) -> bool:
        """False where something differs that nobody asked for."""
        asked_for = bool(self.cause.settings) or (self.chosen and bool(self.cause.model))
        return not self.troubles and (asked_for or self.diff.same_bytes)

    def as_json(self) -> dict[str, Any]:
        told = {
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
            **told,
        }


def named(model: dict[str, str]) -> str:
    """A model as people call it."""
    return f"{model['name']} {model['version']} ({model['digest'][:12]})"


def answered_by(file: RecordingFile, topics: Topics) -> str | None:
    """The digest of the model that gave the newest final prediction, None where there is none. Raises RecordingError."""
    found = None
    for kept in file.records(topics.predictions):
        told = canonical.object_or_empty(kept.value)
        if told.get("final") and isinstance(told.get("model"), dict):
            found = str(told["model"].get("digest"))
    return found


def with_recorded(
    file: RecordingFile,
    under: Under,
    inference: Inference,
    *,
    chosen: bool = False,
) -> Compared:
    """Replay a recording and compare it with what was recorded; chosen: by a model asked for. Raises RecordingError."""
    model = inference.model
    ours = {"name": model.name, "version": model.version, "digest": model.digest}
    recorded = recorded_outcome.read(file, under.topics, model.digest)
    replayed = replay(file, under, recorded, inference)
    others = _other_models(recorded.outcome, model.digest)
    cause = Cause(under.changes, f"model {', '.join(others)} -> {named(ours)}" if others else "")
    windows = _uncompared(recorded, replayed, under.partitions)
    out = diff(recorded.outcome, replayed.outcome, cause, (windows, replayed.unsettled))
    return Compared(
        name=str(file.path),
        cause=cause,
        model=named(ours),
        outcome=replayed.outcome,
        against=recorded.outcome,
        diff=out,
        early=recorded.early,
        troubles=tuple(recorded.troubles),
        chosen=chosen,
    )


def _other_models(recorded: Outcome, digest: str) -> list[str]:
    models = (canonical.loads_object(raw)["model"] for raw in recorded.predictions.values())
    return sorted({named(model) for model in models if model["digest"] != digest})


def _uncompared(recorded: Recorded, replayed: Replayed, partitions: int) -> set[str]:
    """Windows that only one side can have: too near either end of the recording."""
    out = recorded.beyond | {id for id in replayed.unsaid if id not in recorded.outcome.windows}
    out |= {id for id in replayed.unsaid if id not in recorded.outcome.predictions}
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
