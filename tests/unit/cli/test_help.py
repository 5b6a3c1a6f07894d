"""`braid --help` and the help of verbs: complete, and without loading what only running a verb needs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from services.cli.main import VERBS, app

HEAVY = {"torch", "aiokafka", "faust", "redis", "numpy", "PIL", "rich"}


def modules_after(*words: str) -> set[str]:
    """Return the names of the modules that a process has loaded once `braid` with these words is done."""
    code = "import sys; from services.cli.main import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage:")
    return set(done.stderr.split())


def test_list_of_verbs_loads_no_verb_and_no_settings() -> None:
    loaded = modules_after("--help")
    assert not loaded & (HEAVY | {"pydantic", "yaml"})
    assert {name for name in loaded if name.startswith("services.cli.")} == {"services.cli.main"}


@pytest.mark.parametrize("verb", ["send", "doctor", "topics", "train", "why"])
def test_help_of_a_verb_loads_no_client_and_no_model(verb: str) -> None:
    assert not modules_after(verb, "--help") & HEAVY


def test_list_of_verbs_shows_the_first_paragraph_of_each_help() -> None:
    command = get_command(app)
    for name, verb in VERBS.items():
        built = command.commands[name]  # type: ignore[attr-defined]
        assert verb.summary == " ".join(built.help.split("\n\n")[0].split()), name
        assert (verb.hidden, name) == (built.hidden, built.name)


def test_list_of_subcommands_shows_whole_sentences() -> None:
    listed = CliRunner().invoke(app, ["topics", "--help"]).stdout
    assert "configurations that differ." in " ".join(listed.split())
    assert "..." not in listed.partition("Commands:")[2]


def test_mistyped_verb_gets_a_suggestion() -> None:
    result = CliRunner().invoke(app, ["mutee"])
    assert result.exit_code == 2
    assert "'mute'" in result.stderr
