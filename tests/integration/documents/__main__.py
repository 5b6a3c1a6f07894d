"""Runs what takes long in the README and in docs/ in full, and keeps what came of it: `make docs-long`.

Each command runs as it stands in a fresh copy of the repository. Its row in docs/results/documents.md is replaced, and what it
wrote into the copy's docs/ is brought home; all else stays as it was. 1 where a command fails.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import re
import sys
import tempfile
import time
from pathlib import Path

from services.runtime.settings import ROOT
from tests.integration.documents.blocks import Command, commands
from tests.integration.documents.home import Home
from tests.integration.documents.readings import written

RESULT = ROOT / "docs" / "results" / "documents.md"
HEAD = """# What takes long, in full

The last result of each command of the README and of docs/ that takes long, run as it stands by `make docs-long`. `make test`
runs the same commands at their smallest size.

| command | page | ended | minutes | on | its last line |
|---|---|---|---:|---|---|
"""
WITHIN_S = 2 * 3_600


def main() -> int:
    parser = argparse.ArgumentParser(prog="docs-long", description=__doc__)
    parser.add_argument("--only", default="", help="only commands whose page or line holds this (a regular expression)")
    asked = parser.parse_args()
    return asyncio.run(_run(asked.only))


async def _run(only: str) -> int:
    failed = 0
    with tempfile.TemporaryDirectory(prefix="braid-documents-") as made:
        home = Home(Path(made), 1883, sys.stderr.write)
        written(home.folder)
        for command in _each():
            if not re.search(only, f"{command.block.page} {command.line}"):
                continue
            print(f"{command.block.page}: {command.line}", flush=True)
            began, before = time.monotonic(), _documents(home.folder)
            try:
                # What stays until Ctrl-C has done its work once it says so.
                stays = "--stay" in command.line
                said = await (
                    home.hear(command.line, "stays up", WITHIN_S) if stays else home.run(command.line, {}, WITHIN_S)
                )
                ended = "well"
            except AssertionError as error:
                said, ended, failed = str(error), "**badly**", failed + 1
            minutes, today = (time.monotonic() - began) / 60, datetime.datetime.now(datetime.UTC).date()
            last = re.sub(r"[|`]|\x1b\[[0-9;]*m|\S*/tmp/\S*", " ", _last(said))[:120].strip()
            row = f"| `{command.line}` | {command.block.page} | {ended} | {minutes:.1f} | {today} | {last} |"
            _keep(command.line, row)
            for name, content in _documents(home.folder).items() - before.items():
                (ROOT / name).write_bytes(content)
    return 1 if failed else 0


def _last(said: str) -> str:
    """The last line that says something: the end of JSON is a bracket."""
    return next((line for line in reversed(said.splitlines()) if re.search(r"\w", line)), "")


def _documents(home: Path) -> dict[Path, bytes]:
    """What stands in docs/ of a copy, by name; the page that is written here is none that a command writes."""
    files = (file for file in (home / "docs").rglob("*") if file.is_file() and file.name != RESULT.name)
    return {file.relative_to(home): file.read_bytes() for file in files}


def _keep(line: str, row: str) -> None:
    """In the order of the pages; a row of a command that stands nowhere any more goes."""
    rows = re.findall(r"^(\| `([^`]+)` .*)$", RESULT.read_text(), re.MULTILINE) if RESULT.exists() else []
    told = {line: row for row, line in rows} | {line: row}
    order = [command.line for command in _each()]
    RESULT.write_text(HEAD + "".join(f"{told[line]}\n" for line in order if line in told), encoding="utf-8")


def _each() -> list[Command]:
    """Each command once, on the first page where it stands."""
    found: dict[str, Command] = {}
    for command in commands(long=True):
        found.setdefault(command.line, command)
    return list(found.values())


if __name__ == "__main__":
    sys.exit(main())
