"""A regression case: a recording, the changes that it is replayed under, and all that came of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.contract import canonical
from services.fusion.inference import Inference
from services.offline.recording.metadata import RecordingError
from services.offline.recording.reader import RecordingFile
from services.offline.replay import baseline as outcome_json
from services.offline.replay import baseline as recorded_outcome
from services.offline.replay.baseline import ReplayOutcome
from services.offline.replay.compare import Comparison, model_label
from services.offline.replay.diff import ReplayChanges, diff_outcomes
from services.offline.replay.run import replay
from services.offline.replay.settings import with_overrides

RECORDING, EXPECTED = "recording.mcap", "expected.json"
EXPECTED_BYTES_MAX = 1024 * 1024 * 1024
CASES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class RegressionCase:
    """What a folder holds: the changes as `key=value`, the digest and name of the model, and the expected outcome."""

    folder: Path
    changes: tuple[str, ...]
    digest: str
    model: str
    expected: ReplayOutcome


def store_case(folder: Path, recording: Path, changes: Sequence[str], compared: Comparison, digest: str) -> None:
    """Write a case into a folder that is not there yet. Raises OSError."""
    folder.mkdir(parents=True)
    shutil.copyfile(recording, folder / RECORDING)
    value = {
        "changes": list(changes),
        "model": compared.model,
        "digest": digest,
        "outcome": outcome_json.outcome_to_json(compared.outcome),
    }
    (folder / EXPECTED).write_bytes(canonical.dumps(value) + b"\n")


def find_cases(folder: Path) -> list[Path]:
    """The case that a folder is, or those in it, in order. Raises RecordingError where there is none."""
    if (folder / EXPECTED).exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{EXPECTED}"))
    if not 1 <= len(found) <= CASES_MAX:
        raise RecordingError(f"{folder} holds {len(found)} cases; `braid replay FILE --as-test DIR` makes one")
    return found


def read_case(folder: Path) -> RegressionCase:
    """Read a case. Raises RecordingError."""
    path = folder / EXPECTED
    try:
        if path.stat().st_size > EXPECTED_BYTES_MAX:
            raise RecordingError(f"{path} is larger than {EXPECTED_BYTES_MAX} bytes")
        told = canonical.loads_object(path.read_bytes(), EXPECTED_BYTES_MAX)
        return RegressionCase(
            folder,
            tuple(told["changes"]),
            str(told["digest"]),
            str(told["model"]),
            outcome_json.outcome_from_json(told["outcome"]),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from None


def check_case(case: RegressionCase, inference: Inference) -> Comparison:
    """Replay a case and compare it with what is expected of it. Raises RecordingError or SettingsError."""
    file = RecordingFile(case.folder / RECORDING)
    rules = with_overrides(file.metadata, case.changes)
    recorded = recorded_outcome.read_baseline(file, rules.topics, inference.model.digest)
    replayed = replay(file, rules, recorded, inference)
    model = inference.model
    ours = model_label({"name": model.name, "version": model.version, "digest": model.digest})
    cause = ReplayChanges(model=f"model {case.model} -> {ours}" if model.digest != case.digest else "")
    found = diff_outcomes(case.expected, replayed.outcome, cause)
    return Comparison(str(case.folder), cause, ours, replayed.outcome, case.expected, found, 0, ())
