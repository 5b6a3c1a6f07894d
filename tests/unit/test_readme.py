"""The README shows what is there: the examples as they are, and every verb."""

from __future__ import annotations

import re

from typer.main import get_command

from services.cli.main import app
from services.runtime.settings import ROOT

README = (ROOT / "README.md").read_text()


def test_the_examples_stand_in_the_readme_as_they_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    files = [(ROOT / "examples" / name).read_text() for name in ("send.py", "read.py")]
    assert blocks == files


def test_every_verb_stands_in_the_readme_and_no_other() -> None:
    told = re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE)
    assert told == list(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_file_that_the_readme_names_is_there() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_test_that_the_page_on_alignment_names_exists() -> None:
    page = (ROOT / "docs" / "alignment.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_[a-z_]+)`", page)
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in tests] == []
