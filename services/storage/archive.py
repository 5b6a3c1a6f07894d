"""The archive of events on disk: media values by content and one manifest an event, limited in days and bytes."""

from __future__ import annotations

import contextlib
import fcntl
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import TextIO

from services.contract.kafka_record import KafkaRecord, RecordPosition
from services.runtime.atomic_file import hashed_name, write_atomically
from services.storage.archive_entry import (
    ENTRY_BYTES_MAX,
    ArchiveEntry,
    EntryManifest,
    EntrySummary,
    InvalidEntry,
    decode,
    encode,
    sha256_of,
)

LOCK = "lock"
ENTRIES_MAX = 1_000_000
DAY_US = 86_400_000_000


class EventArchive:
    """A folder that one process writes and any process may read; values that several events share are stored once.

    A crash leaves at most values that no manifest names, which `open` removes. Memory holds a summary of each event, and
    of the values only the shared ones: the names of all would take a tenth of what is on disk.

    Args:
        folder: The folder of the archive.
        days: Age at which an entry is deleted; 0 archives nothing.
        bytes_max: Size above which the oldest entries are deleted; 0 archives nothing.
    """

    def __init__(self, folder: Path, days: int, bytes_max: int) -> None:
        self._folder, self._age_us_max, self._bytes_max = folder, days * DAY_US, bytes_max
        self._summaries: dict[Path, EntrySummary] = {}
        self._lock: TextIO | None = None
        # How many events name a value beyond the first.
        self._shared: Counter[str] = Counter()
        self.bytes = 0
        self.damaged = 0

    def open(self, now_us: int) -> None:
        """Lock the folder for writing, load it, and delete values without a manifest and expired entries.

        Raises:
            OSError: The folder cannot be used, or another process writes it.
        """
        if self._is_off:
            return
        # Other users of the machine must not see what devices recorded.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (self._folder / LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = self.load()
        for path in [*self._folder.glob("values/*/*"), *self._folder.glob("events/*/.*")]:
            if path.name not in named:
                path.unlink()
        self._evict(now_us)

    def load(self) -> set[str]:
        """Load the summaries of all events, which is enough to forget a session while another process writes.

        Returns:
            The names of all values that events name.

        Raises:
            OSError: The folder cannot be read.
        """
        named: set[str] = set()
        for path in sorted(self._folder.glob("events/*/*.json")):
            try:
                manifest = _read(path)
            except InvalidEntry:
                self.damaged += 1
                continue
            self._count(path, manifest, named)
            named |= manifest.blobs.keys()
        return named

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            self._lock.close()

    def has(self, session: str, event_id: str) -> bool:
        """Return whether an event is archived."""
        return self._path(session, event_id).exists()

    def save(self, entry: ArchiveEntry) -> bool:
        """Save an entry in place of an earlier one of its event; return whether it is archived. Raises OSError."""
        raw = encode(entry)
        if self._is_off or len(raw) > ENTRY_BYTES_MAX:
            return False
        path = self._path(entry.session, entry.event_id)
        replaced_blobs = self._blobs(path) if path in self._summaries else {}
        stored = {name for name in entry.blobs if self._value_path(name).exists()}
        for name, value in entry.blobs.items():
            if name not in stored:
                write_atomically(self._value_path(name), value)
        # The manifest comes last, so that every value that it names exists.
        write_atomically(path, raw)
        if (replaced := self._summaries.pop(path, None)) is not None:
            self.bytes -= replaced.size
        self._count(path, decode(raw), stored)
        self._release(replaced_blobs)
        self._evict(entry.archived_us)
        return path in self._summaries

    def entries_of(self, session: str) -> Iterator[ArchiveEntry]:
        """Yield all entries of a session in no order; media with a missing or changed value have the value None."""
        for path in self._folder.glob(f"events/{hashed_name(session)}/*.json"):
            with contextlib.suppress(InvalidEntry, OSError):
                manifest = _read(path)
                if manifest.session == session:
                    yield manifest.entry({name: value for name in manifest.blobs if (value := self.value(name))})

    def entry_of(self, session: str, event_id: str) -> ArchiveEntry | None:
        """Return the entry of an event, None if it is not archived."""
        return next((e for e in self.entries_of(session) if e.event_id == event_id), None)

    def media_records(self, session: str, position: RecordPosition) -> Iterator[KafkaRecord]:
        """Yield the archived records of a position; there are several if the broker was replaced meanwhile."""
        for path in self._folder.glob(f"events/{hashed_name(session)}/*.json"):
            with contextlib.suppress(InvalidEntry, OSError):
                for name, record in _read(path).media_at(position):
                    yield record._replace(value=self.value(name))

    def value(self, name: str) -> bytes | None:
        """Return a value by its SHA-256, None if it is missing or changed."""
        try:
            value = self._value_path(name).read_bytes()
        except OSError:
            return None
        return value if sha256_of(value) == name else None

    def forget(self, session: str) -> int:
        """Delete all entries of a session except values that others share; return the number of events."""
        paths = [path for path, summary in self._summaries.items() if summary.session == session]
        for path in paths:
            self._delete(path)
        return len(paths)

    @property
    def _is_off(self) -> bool:
        return not self._age_us_max or not self._bytes_max

    def _count(self, path: Path, manifest: EntryManifest, stored: Set[str]) -> None:
        """Add an event to the counts; `stored` are the values that other events name already."""
        self._summaries[path] = summary = manifest.summary
        self.bytes += summary.size
        for name, size in manifest.blobs.items():
            if name in stored:
                self._shared[name] += 1
            else:
                self.bytes += size

    def _delete(self, path: Path) -> None:
        blobs = self._blobs(path)
        self.bytes -= self._summaries.pop(path).size
        path.unlink(missing_ok=True)
        self._release(blobs)

    def _blobs(self, path: Path) -> Mapping[str, int]:
        try:
            return _read(path).blobs
        except (InvalidEntry, OSError):
            return {}  # The manifest was changed on disk: the next `open` deletes its values.

    def _release(self, blobs: Mapping[str, int]) -> None:
        for name, size in blobs.items():
            if name in self._shared:
                self._shared[name] -= 1
                if not self._shared[name]:
                    del self._shared[name]
            else:
                self.bytes -= size
                self._value_path(name).unlink(missing_ok=True)

    def _evict(self, now_us: int) -> None:
        for path in sorted(self._summaries, key=lambda p: (self._summaries[p].archived_us, p)):
            is_expired = self._summaries[path].archived_us < now_us - self._age_us_max
            if not is_expired and self.bytes <= self._bytes_max and len(self._summaries) <= ENTRIES_MAX:
                return
            self._delete(path)

    def _path(self, session: str, event_id: str) -> Path:
        return self._folder / "events" / hashed_name(session) / f"{hashed_name(event_id)}.json"

    def _value_path(self, name: str) -> Path:
        return self._folder / "values" / name[:2] / name


def _read(path: Path) -> EntryManifest:
    if path.stat().st_size > ENTRY_BYTES_MAX:
        raise InvalidEntry("too large")
    return decode(path.read_bytes())
