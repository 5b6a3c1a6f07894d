"""Run the commands of README and docs/ that take long at full size: `make docs-long`.

Each command runs as written in a fresh clone. Its row in docs/results/documents.md is replaced, and the files that it wrote
into the docs/ of the clone are copied back. The exit code is 1 if a command fails.
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
from tests.integration.documents.clone import Clone

RESULT = ROOT / "docs" / "results" / "documents.md"
HEAD = """# Commands that take long

The last result of each long command of README and docs/ at full size, by `make docs-long`. `make test` runs the same commands
at a small size.

| command | page | result | minutes | date | last line of its output |
|---|---|---|---:|---|---|
"""
TIMEOUT_S = 2 * 3_600


def main() -> int:
    parser = argparse.ArgumentParser(prog="docs-long", description=__doc__)
    parser.add_argument("--only", default="", help="only commands whose page or text matches this regular expression")
    return asyncio.run(_run_all(parser.parse_args().only))


async def _run_all(only: str) -> int:
    failed = 0
    with tempfile.TemporaryDirectory(prefix="braid-documents-") as folder:
        clone = Clone(Path(folder), 1883, sys.stderr.write)
        for command in _distinct_commands():
            if not re.search(only, f"{command.block.page} {command.line}"):
                continue
            print(f"{command.block.page}: {command.line}", flush=True)
            began, before = time.monotonic(), _read_docs(clone.folder)
            try:
                # A command that stays until Ctrl-C has finished its work when it says so.
                if "--stay" in command.line:
                    output = await clone.run_until(command.line, "stays up", TIMEOUT_S)
                else:
                    output = await clone.run(command.line, {}, TIMEOUT_S)
                result = "ok"
            except AssertionError as error:
                output, result, failed = str(error), "**failed**", failed + 1
            minutes, today = (time.monotonic() - began) / 60, datetime.datetime.now(datetime.UTC).date()
            last = re.sub(r"[|`]|\x1b\[[0-9;]*m|\S*/tmp/\S*", " ", _last_line(output))[:120].strip()
            row = f"| `{command.line}` | {command.block.page} | {result} | {minutes:.1f} | {today} | {last} |"
            _replace_row(command.line, row)
            for name, content in _read_docs(clone.folder).items() - before.items():
                (ROOT / name).write_bytes(content)
    return 1 if failed else 0


def _last_line(output: str) -> str:
    """Return the last line with a word in it: JSON ends with a bracket."""
    return next((line for line in reversed(output.splitlines()) if re.search(r"\w", line)), "")


def _read_docs(clone: Path) -> dict[Path, bytes]:
    """Return the files of docs/ in a clone, without the page that this command writes."""
    files = (file for file in (clone / "docs").rglob("*") if file.is_file() and file.name != RESULT.name)
    return {file.relative_to(clone): file.read_bytes() for file in files}


def _replace_row(line: str, row: str) -> None:
    """Write the row of a command in the order of the pages and drop the rows of commands that no page has."""
    rows = re.findall(r"^(\| `([^`]+)` .*)$", RESULT.read_text(), re.MULTILINE) if RESULT.exists() else []
    by_line = {line: row for row, line in rows} | {line: row}
    order = [command.line for command in _distinct_commands()]
    RESULT.write_text(HEAD + "".join(f"{by_line[line]}\n" for line in order if line in by_line), encoding="utf-8")


def _distinct_commands() -> list[Command]:
    """Return each command once, with the first page that has it."""
    by_line: dict[str, Command] = {}
    for command in commands(long=True):
        by_line.setdefault(command.line, command)
    return list(by_line.values())


if __name__ == "__main__":
    sys.exit(main())
