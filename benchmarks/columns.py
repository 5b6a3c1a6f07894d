"""Results that have a column before a change and one after it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.report import RESULTS

COLUMNS = ("before", "after")


def middle(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: statistics.median(row[name] for row in found) for name in found[0]}


def keep(file: str, column: str, found: Mapping[str, Any], page: Callable[[dict[str, Any]], str]) -> None:
    """Write one column of a result into its JSON, the other one as it stands, and the page of both."""
    data = RESULTS / f"{file}.json"
    told = {**(json.loads(data.read_text()) if data.exists() else {}), column: found}
    data.write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / f"{file}.md").write_text(page(told))
