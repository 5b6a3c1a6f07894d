"""The files that commands of the pages read: those that the pages show, and data sets cut to a smaller size."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from services.runtime.settings import ROOT
from tests.integration.documents.blocks import blocks, pages


def written(folder: Path) -> None:
    """Write every block whose mark is a file's name (```json mine.jsonl) to that file."""
    for page in pages():
        for block in blocks(page):
            for mark in block.marks:
                if mark.endswith(".jsonl"):
                    (folder / mark).write_text(block.text, encoding="utf-8")


def cut(folder: Path, rows: int) -> None:
    """Leave so many rows of tridigit in each split, evenly over its labels; 0 leaves all."""
    whole = ROOT / "data" / "tridigit" / "manifest.jsonl"
    by_kind: dict[tuple[str, int], list[str]] = defaultdict(list)
    read = [(json.loads(line), line) for line in whole.read_text(encoding="utf-8").splitlines()]
    for row, line in read:
        by_kind[row["split"], row["digit"]].append(line)
    most = max(rows // 10, 1) if rows else len(read)
    kept = [line for lines in by_kind.values() for line in lines[:most]]
    (folder / "data" / "tridigit" / "manifest.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
