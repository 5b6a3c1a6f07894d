"""`braid align-case`: written test cases for the alignment; hidden from the list of verbs."""

from __future__ import annotations

import json as json_lines
from pathlib import Path
from typing import Annotated

import typer


def align_case(file: Annotated[Path, typer.Argument(help="JSON lines, one case in each.")]) -> None:
    """Run written cases through the pure alignment: print one JSON line of results for each case.

    A case: {"name", "size_us", "hop_us", "modalities": {m: {"lateness_us", "gapless"}}, "arrivals": […]}. An arrival is
    {"modality", "kind": "data", "session", "source", "id", "t_us", "duration_us", "sha256", "append_us"} or {"modality",
    "kind": "bound", "bounds": {session: us}, "evidence": "tick" or "end"} or {"modality", "kind": "reset", "session",
    "generation"}, which begins a generation of the session in that log. All times are integer microseconds.

    "append_us" may be left out: that chunk raises the watermark to its own time, however late. Otherwise it raises it to
    at most append_us plus the "lead_us" of the case (250,000 if left out). "devices" of a case may be {source: {"clock":
    "arrival"}}: the event time of that source is append_us. Admission is left out: nothing is rejected for its time.

    "source_sessions_max" of a case (no limit if left out): what a source sends to further sessions in one log, within a
    multiple of five window lengths of append time, is `quota`. Then "append_us" of a bound or reset counts too.

    The result: {"name", "fates", "windows", "open"}, or {"name", "error"} for an invalid case (exit code 0).
    """
    from services.offline.align_case import run_case

    for line in file.read_bytes().splitlines():
        if line.strip():
            print(json_lines.dumps(run_case(line), ensure_ascii=False))
