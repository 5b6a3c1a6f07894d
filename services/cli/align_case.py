"""`braid align-case`."""

from __future__ import annotations

import json as json_lines
from pathlib import Path
from typing import Annotated

import typer

from services.cli import output


def align_case(file: Annotated[Path, typer.Argument(help="JSON lines, one case a line.")]) -> None:
    """Written cases through the pure alignment alone: one JSON line of answers for each case.

    A case: {"name", "size_us", "hop_us", "modalities": {m: {"lateness_us", "gapless"}}, "arrivals": […]}. An arrival is
    {"modality", "kind": "data", "session", "source", "id", "t_us", "duration_us", "sha256"} or {"modality", "kind":
    "bound", "bounds": {session: us}, "evidence": "tick" or "end"}. All times are integer microseconds.

    The answer: {"name", "fates", "windows", "open"}, or {"name", "error"} for a case that cannot be read (exit code 0).
    """
    from services.offline.align_case import run_case

    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        output.fail(f"{file} cannot be read: {error.strerror}", 2)
    for line in lines:
        if line.strip():
            print(json_lines.dumps(run_case(line), ensure_ascii=False))
