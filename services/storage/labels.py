"""The store of labels: a manifest and its media files, as `braid train --data` reads them."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.contract import canonical
from services.runtime.atomic_file import hashed_name, write_atomically
from services.storage.training_sample import TrainingSample

MANIFEST, LOCK = "labels.jsonl", "lock"


class LabelStore:
    """A folder that processes write one at a time; a new label of a prediction replaces the old one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def manifest(self) -> Path:
        """The file for `braid train --data`."""
        return self._folder / MANIFEST

    def save(self, sample: TrainingSample) -> dict[str, Any]:
        """Save a sample and return its line of the manifest. Raises OSError."""
        session = hashed_name(sample.row["session"])
        row: dict[str, Any] = {**sample.row, "image": None, "audio": None}
        with self._locked():
            for field, (suffix, content) in sample.files.items():
                path = self._folder / "media" / session / f"{hashed_name(sample.row['id'])}{suffix}"
                write_atomically(path, content)
                row[field] = str(path.relative_to(self._folder))
            self._rewrite([*(other for other in self.rows() if other["id"] != row["id"]), row])
        return row

    def rows(self) -> list[dict[str, Any]]:
        """Return all valid lines of the manifest. Raises OSError."""
        if not self.manifest.exists():
            return []
        rows = []
        for line in self.manifest.read_bytes().splitlines():
            try:
                row = canonical.loads_object(line)
            except canonical.InvalidJson:
                continue
            if isinstance(row.get("id"), str) and isinstance(row.get("session"), str):
                rows.append(row)
        return rows

    def forget(self, session: str) -> int:
        """Delete the labels and media of a session; return the number of labels. Raises OSError."""
        if not self.manifest.exists():
            return 0
        with self._locked():
            rows = self.rows()
            remaining = [row for row in rows if row["session"] != session]
            self._rewrite(remaining)
            shutil.rmtree(self._folder / "media" / hashed_name(session), ignore_errors=True)
        return len(rows) - len(remaining)

    def _rewrite(self, rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
        write_atomically(self.manifest, b"".join(canonical.dumps(row) + b"\n" for row in rows))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Other users of the machine must not see what devices recorded.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
