"""Reads the fenced blocks of a Markdown page, and the commands in them.

The words after a block's language are marks, which a reader of the page does not see: `long NAME=VALUE …` is a block that
takes long: a test runs it at that size, and `make docs-long` as it stands; `elsewhere` is one that cannot run in a test.
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
    """The README and every page of docs/ but the recipes for other systems, which tests/unit/test_recipes.py judges."""
    return [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "recipes.md")]


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its page below the top folder, language, marks and text."""

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
        """The smallest real size of a long block, by the variable that takes it."""
        return dict(mark.split("=", 1) for mark in self.marks if "=" in mark)


@dataclass(frozen=True, slots=True)
class Command:
    """One line for the shell, without its comment."""

    block: Block
    line: str

    def sized(self) -> str:
        """The line at the smallest real size; a variable that it sets itself (`make simulate SEEDS=20000`) is set anew."""
        line = self.line
        for name, value in self.block.sizes.items():
            line = re.sub(rf"\b{name}=\S+", f"{name}={shlex.quote(value)}", line)
        return line


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in order."""
    for info, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        language, *marks = shlex.split(info) or [""]
        yield Block(str(page.relative_to(ROOT)), language, tuple(marks), text)


def commands(*, long: bool) -> list[Command]:
    """All commands for the shell, of blocks that take long or of the others; those that run elsewhere aside."""
    found = [block for page in pages() for block in blocks(page) if block.language in SHELL]
    return [
        Command(block, line)
        for block in found
        if block.long is long and not block.elsewhere
        for line in lines(block.text)
    ]


def lines(text: str) -> list[str]:
    """The lines of a shell block without comments; what ends with a backslash goes on."""
    joined = text.replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in joined)
    return [line for line in bare if line]


def spans(page: Path) -> list[str]:
    """What stands between single backquotes in the prose of a page."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"`([^`\n]+)`", prose)
