"""Every verb prints at most three lines to stderr and has a stable exit code if a dependency is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.main import VERBS, app, known_error
from services.local.ports import free_ports

OK, FAILED, USAGE, NOT_RETAINED = 0, 1, 2, 3
ID = "kitchen/1700000000000/1@0123456789ab"

# Arguments of each verb, and its exit code without a broker and Redis, and without a model.
# Trainings get arguments that end them at once: they need none of the three.
VERB_LINES = {
    "demo --seconds 4": (FAILED, None),
    "up": (FAILED, None),
    "topics apply": (FAILED, FAILED),
    "topics apply --print": (OK, OK),
    "topics check": (FAILED, FAILED),
    "send examples/seven.jpg --session kitchen": (FAILED, FAILED),
    "tail": (FAILED, FAILED),
    "inspect video": (FAILED, FAILED),
    f"why {ID}": (FAILED, FAILED),
    f"why {ID} --archive none": (NOT_RETAINED, NOT_RETAINED),
    f"why {ID} --recording none.mcap": (USAGE, USAGE),
    "record {tmp}/out.mcap": (FAILED, FAILED),
    "replay none.mcap": (USAGE, USAGE),
    "replay --check none": (USAGE, USAGE),
    "devices": (FAILED, FAILED),
    f"label {ID} dog": (FAILED, FAILED),
    "mute kitchen": (FAILED, FAILED),
    "unmute kitchen audio": (FAILED, FAILED),
    "reset-session kitchen": (FAILED, FAILED),
    "forget kitchen": (FAILED, FAILED),
    "audit": (FAILED, FAILED),
    "migrate-settings": (FAILED, FAILED),
    "drain": (FAILED, FAILED),
    "doctor": (FAILED, FAILED),
    "config show": (OK, OK),
    "config check": (OK, USAGE),
    "schema": (OK, OK),
    "train --data none.jsonl": (USAGE, USAGE),
    "train --data {tmp}": (USAGE, USAGE),
    "train --data none.jsonl --private-epsilon 1": (USAGE, USAGE),
    "predict --text seven": (OK, FAILED),
    "predict --image none.jpg": (FAILED, FAILED),
    "predict-stream --events none --audio none --root none --out {tmp}/out": (USAGE, USAGE),
    "predict-batch none --manifest examples/seven.jpg --out {tmp}/out": (OK, OK),
    "predict-batch --manifest none --out {tmp}/out": (USAGE, USAGE),
    "evaluate none": (FAILED, FAILED),
    "evaluate --quiet none": (FAILED, FAILED),
    "compare --fusions none": (USAGE, USAGE),
    "compress none": (FAILED, FAILED),
    "bench gpu --batches none": (USAGE, USAGE),
    "study privacy --epsilons none": (USAGE, USAGE),
    "model list": (OK, OK),
    "model show": (OK, FAILED),
    "model verify": (OK, FAILED),
    "align-case none": (FAILED, FAILED),
    "run none": (USAGE, USAGE),
}
LINES_MAX = 3
BROKEN_SETTINGS = {
    "a tab": "kafka:\n\tbootstrap_servers: a:1\n",
    "a list where a table belongs": "kafka:\n  - bootstrap_servers\n",
    "an unknown modality": "alignment:\n  sessions:\n    - session: kitchen\n      modalities: [smell]\n",
}
# Verbs that do not read the settings.
NO_SETTINGS = (
    "schema",
    "train",
    "predict-batch",
    "evaluate",
    "compare",
    "compress",
    "bench",
    "study",
    "align",
    "replay",
)


@pytest.fixture
def dead_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Broker and Redis on ports where nothing listens, and folders of the test's own."""
    broker, redis = free_ports(2)
    monkeypatch.setenv("BRAID_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{broker}")
    monkeypatch.setenv("BRAID_REDIS__URL", f"redis://127.0.0.1:{redis}")
    monkeypatch.setenv("BRAID_ARCHIVE__FOLDER", str(tmp_path / "archive"))
    monkeypatch.setenv("BRAID_LABELS__FOLDER", str(tmp_path / "labels"))


def run(line: str, tmp_path: Path) -> tuple[int, str]:
    """Return the exit code and what the verb prints on stderr."""
    result = CliRunner().invoke(app, line.format(tmp=tmp_path).split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    progress, _, message = result.stderr.rpartition("braid: ")
    assert len(message.splitlines()) <= LINES_MAX, message
    assert "Traceback" not in progress
    return result.exit_code, message


def test_every_verb_is_here() -> None:
    assert {line.split()[0] for line in VERB_LINES} == set(VERBS)


@pytest.mark.parametrize("line", VERB_LINES)
@pytest.mark.usefixtures("dead_addresses")
def test_verb_without_broker_and_redis_says_so_in_three_lines(line: str, tmp_path: Path) -> None:
    code, printed = run(line, tmp_path)
    assert code == VERB_LINES[line][0], printed


@pytest.mark.parametrize("line", [line for line, codes in VERB_LINES.items() if codes[1] is not None])
@pytest.mark.usefixtures("dead_addresses")
def test_verb_without_model_says_so_in_three_lines(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAID_FUSION__MODEL", str(tmp_path / "no model"))
    code, printed = run(line, tmp_path)
    assert code == VERB_LINES[line][1], printed


@pytest.mark.parametrize("problem", BROKEN_SETTINGS)
@pytest.mark.parametrize("line", [line for line in VERB_LINES if not line.startswith(NO_SETTINGS)])
def test_verb_with_broken_settings_names_them_in_three_lines(
    line: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "braid.yaml").write_text(BROKEN_SETTINGS[problem])
    monkeypatch.chdir(tmp_path)
    code, printed = run(line, tmp_path)
    assert code == USAGE, printed
    assert "braid.yaml" in printed, printed


def test_error_of_a_task_group_is_known() -> None:
    error = known_error(ExceptionGroup("several", [ValueError("x"), FileNotFoundError(2, "No such file", "a.txt")]))
    assert str(error) == "a.txt cannot be used.\nNo such file."


def test_defect_is_not_disguised() -> None:
    assert known_error(KeyError("x")) is None
    assert known_error(ModuleNotFoundError("x", name="services.nothing")) is None
