"""The README shows what is there: the examples as they are, and every verb."""

from __future__ import annotations

import inspect
import re

from typer.main import get_command

from examples import send
from services.cli.main import app
from services.runtime.settings import ROOT

README = (ROOT / "README.md").read_text()


def test_the_examples_stand_in_the_readme_as_they_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    files = [(ROOT / "examples" / name).read_text() for name in ("send.py", "read.py")]
    assert blocks == files


def test_the_sender_has_ten_lines() -> None:
    assert len(inspect.getsource(send.main).strip().splitlines()[1:]) <= 10


def test_every_verb_stands_in_the_readme_and_no_other() -> None:
    told = re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE)
    assert told == list(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_file_that_the_readme_names_is_there() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_rule_of_alignment_is_pinned_by_tests_that_are_where_the_page_says() -> None:
    page = (ROOT / "docs" / "alignment.md").read_text()
    rows = dict(re.findall(r"^\| ([AR][0-9]+) [^|]*\| (.*) \|$", page, re.MULTILINE))
    assert list(rows) == [*(f"A{n}" for n in range(1, 17)), *(f"R{n}" for n in range(1, 6))]
    for rule, told in rows.items():
        links = re.findall(r"\[`(test_[a-z_0-9]+)`\]\(\.\./([^)]+)\)", told)
        assert len(links) == told.count("`") // 2 > 0, rule
        for name, path in links:
            assert f"def {name}(" in (ROOT / path).read_text(), (rule, name)
        assert re.search(rf"^\*\*[^*]*\b{rule}[.,]", page, re.MULTILINE), f"{rule} is not told"


def test_every_file_that_a_page_names_is_there() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        for path in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert path.startswith("https://") or (page.parent / path).exists(), (page.name, path)
