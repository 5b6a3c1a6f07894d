"""Read the fenced blocks of a Markdown page and the shell commands in them.

The words after the language of a block are marks, which a reader of the page does not see. `long NAME=VALUE …` marks a block
that takes long: the test runs it at that size, and `make docs-long` as written. `elsewhere` marks a block that cannot run in
a test.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.runtime.settings import ROOT

SHELL = ("sh", "bash")
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Return README, CONTRIBUTING and the pages of docs/ except the recipes, which tests/unit/test_recipes.py checks."""
    of_docs = (page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "recipes.md")
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *of_docs]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its page relative to the repository, language, marks and text."""

    page: str
    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def long(self) -> bool:
        return "long" in self.marks

    @property
    def elsewhere(self) -> bool:
        return "elsewhere" in self.marks

    @property
    def sizes(self) -> dict[str, str]:
        """The variables that make a long block small."""
        return dict(mark.split("=", 1) for mark in self.marks if "=" in mark)


@dataclass(frozen=True, slots=True)
class Command:
    """One shell command without its comment."""

    block: Block
    line: str

    def at_small_size(self) -> str:
        """Return the command with small values for the variables that it sets itself (`make simulate SEEDS=20000`)."""
        line = self.line
        for name, value in self.block.sizes.items():
            line = re.sub(rf"\b{name}=\S+", f"{name}={shlex.quote(value)}", line)
        return line


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    for info, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        language, *marks = shlex.split(info) or [""]
        yield Block(str(page.relative_to(ROOT)), language, tuple(marks), text)


def commands(*, long: bool) -> list[Command]:
    """Return the shell commands of the blocks that take long, or of the others; blocks marked `elsewhere` excepted."""
    shell = [block for page in pages() for block in blocks(page) if block.language in SHELL]
    return [
        Command(block, line)
        for block in shell
        if block.long is long and not block.elsewhere
        for line in lines(block.text)
    ]


def lines(text: str) -> list[str]:
    """Return the commands of a shell block without comments, with continued lines joined."""
    joined = text.replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in joined)
    return [line for line in bare if line]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def code_spans(page: Path) -> list[str]:
    """Return what is between single backquotes in the prose of a page."""
    return re.findall(r"`([^`\n]+)`", prose(page))
