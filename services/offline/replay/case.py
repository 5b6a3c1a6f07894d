"""A regression case: a recording, the changes with which it is replayed, and the expected outcome."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.contract import canonical
from services.contract.signature import Signer
from services.fusion.inference import Inference
from services.offline.recording.metadata import RecordingError
from services.offline.recording.reader import UNSIGNED, RecordingFile
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
    """A case in a folder: the changes as `key=value`, the digest and name of the model, and the expected outcome."""

    folder: Path
    changes: tuple[str, ...]
    digest: str
    model: str
    expected: ReplayOutcome


def store_case(folder: Path, recording: Path, changes: Sequence[str], compared: Comparison, digest: str) -> None:
    """Write a case into a new folder.

    Raises:
        OSError: The folder exists or cannot be written.
    """
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
    """Return the folder itself if it is a case, else the folders of the cases in it.

    Raises:
        RecordingError: There is no case, or there are too many.
    """
    if (folder / EXPECTED).exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{EXPECTED}"))
    if not 1 <= len(found) <= CASES_MAX:
        raise RecordingError(f"{folder} holds {len(found)} cases; `braid replay FILE --as-test DIR` makes one")
    return found


def read_case(folder: Path) -> RegressionCase:
    """Read a case.

    Raises:
        RecordingError: It cannot be read.
    """
    path = folder / EXPECTED
    try:
        if path.stat().st_size > EXPECTED_BYTES_MAX:
            raise RecordingError(f"{path} is larger than {EXPECTED_BYTES_MAX} bytes")
        fields = canonical.loads_object(path.read_bytes(), EXPECTED_BYTES_MAX)
        return RegressionCase(
            folder,
            tuple(fields["changes"]),
            str(fields["digest"]),
            str(fields["model"]),
            outcome_json.outcome_from_json(fields["outcome"]),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from None


def check_case(case: RegressionCase, inference: Inference, signer: Signer = UNSIGNED) -> Comparison:
    """Replay a case and compare it with the expected outcome; signer: verifies its records if it has their secret.

    Raises:
        RecordingError: The recording cannot be read.
        SettingsError: A change is not valid any more.
    """
    file = RecordingFile(case.folder / RECORDING, signer)
    rules = with_overrides(file.metadata, case.changes)
    recorded = recorded_outcome.read_baseline(file, rules.topics, inference.model.digest)
    replayed = replay(file, rules, recorded, inference)
    model = inference.model
    ours = model_label({"name": model.name, "version": model.version, "digest": model.digest})
    cause = ReplayChanges(model=f"model {case.model} -> {ours}" if model.digest != case.digest else "")
    found = diff_outcomes(case.expected, replayed.outcome, cause)
    return Comparison(str(case.folder), cause, ours, replayed.outcome, case.expected, found, 0, ())
