"""The folder in which evidence lies: values by content, one manifest an event; bounded in days and in bytes."""

from __future__ import annotations

import contextlib
import fcntl
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import TextIO

from services.contract.record import KafkaRecord, RecordPosition
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
    """One process writes, any may read. A value that several events share lies there once.

    days, bytes_max: what is older goes, and of more the oldest; 0 of either keeps nothing. A crash leaves at most values
    that no manifest names: they go when the store is opened again. In memory is little of each event, and of the values
    only which are shared: the names of all would be a tenth of what lies on disk.
    """

    def __init__(self, folder: Path, days: int, bytes_max: int) -> None:
        self._folder, self._keep_us, self._bytes_max = folder, days * DAY_US, bytes_max
        self._known: dict[Path, EntrySummary] = {}
        self._lock: TextIO | None = None
        # How many events name a value beyond the first.
        self._shared: Counter[str] = Counter()
        self.bytes = 0
        self.damaged = 0

    def open(self, now_us: int) -> None:
        """Read what lies there; take away what nobody names and what is due. Raises OSError, also where another writes."""
        if self._off:
            return
        # Others of the machine have no business with what devices saw and heard.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (self._folder / LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = self.load()
        for path in [*self._folder.glob("values/*/*"), *self._folder.glob("events/*/.*")]:
            if path.name not in named:
                path.unlink()
        self._evict(now_us)

    def load(self) -> set[str]:
        """Only read what lies there: enough to forget a session while another process keeps. Raises OSError.

        The names of all values that events name.
        """
        named: set[str] = set()
        for path in sorted(self._folder.glob("events/*/*.json")):
            try:
                manifest = _read(path)
            except InvalidEntry:
                self.damaged += 1
                continue
            self._take(path, manifest, named)
            named |= manifest.blobs.keys()
        return named

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            self._lock.close()

    def has(self, session: str, event_id: str) -> bool:
        """True where an entry of this event is kept."""
        return self._path(session, event_id).exists()

    def save(self, entry: ArchiveEntry) -> bool:
        """Keep an entry, in place of what was kept of its event; False where none is kept. Raises OSError."""
        raw = encode(entry)
        if self._off or len(raw) > ENTRY_BYTES_MAX:
            return False
        path = self._path(entry.session, entry.event_id)
        before = self._blobs(path) if path in self._known else {}
        there = {name for name in entry.blobs if self._value(name).exists()}
        for name, value in entry.blobs.items():
            if name not in there:
                write_atomically(self._value(name), value)
        # The manifest last: what it names is there.
        write_atomically(path, raw)
        if (replaced := self._known.pop(path, None)) is not None:
            self.bytes -= replaced.size
        self._take(path, decode(raw), there)
        self._release(before)
        self._evict(entry.archived_us)
        return path in self._known

    def entries_of(self, session: str) -> Iterator[ArchiveEntry]:
        """All that is kept of a session, in no order; media whose values were changed are told as gone."""
        for path in self._folder.glob(f"events/{hashed_name(session)}/*.json"):
            with contextlib.suppress(InvalidEntry, OSError):
                manifest = _read(path)
                if manifest.session == session:
                    yield manifest.entry({name: value for name in manifest.blobs if (value := self.value(name))})

    def entry_of(self, session: str, event_id: str) -> ArchiveEntry | None:
        """The entry of an event, None where none is kept."""
        return next((e for e in self.entries_of(session) if e.event_id == event_id), None)

    def media_records(self, session: str, place: RecordPosition) -> Iterator[KafkaRecord]:
        """The media records that are kept of a place of a log; a place may have held others before a new broker."""
        for path in self._folder.glob(f"events/{hashed_name(session)}/*.json"):
            with contextlib.suppress(InvalidEntry, OSError):
                for name, kept in _read(path).media_at(place):
                    yield kept._replace(value=self.value(name))

    def value(self, name: str) -> bytes | None:
        """A value by its sha256, None where it is not there or was changed."""
        try:
            value = self._value(name).read_bytes()
        except OSError:
            return None
        return value if sha256_of(value) == name else None

    def forget(self, session: str) -> int:
        """Erase all that is kept of a session: how many events. Values that others share stay."""
        gone = [path for path, known in self._known.items() if known.session == session]
        for path in gone:
            self._drop(path)
        return len(gone)

    @property
    def _off(self) -> bool:
        return not self._keep_us or not self._bytes_max

    def _take(self, path: Path, manifest: EntryManifest, there: Set[str]) -> None:
        """Count an event; there: the values that others name already."""
        self._known[path] = known = manifest.known
        self.bytes += known.size
        for name, size in manifest.blobs.items():
            if name in there:
                self._shared[name] += 1
            else:
                self.bytes += size

    def _drop(self, path: Path) -> None:
        blobs = self._blobs(path)
        self.bytes -= self._known.pop(path).size
        path.unlink(missing_ok=True)
        self._release(blobs)

    def _blobs(self, path: Path) -> Mapping[str, int]:
        """What an event names; of one that was changed on disk nothing is known: its values go with the next start."""
        try:
            return _read(path).blobs
        except (InvalidEntry, OSError):
            return {}

    def _release(self, blobs: Mapping[str, int]) -> None:
        for name, size in blobs.items():
            if name in self._shared:
                self._shared[name] -= 1
                if not self._shared[name]:
                    del self._shared[name]
            else:
                self.bytes -= size
                self._value(name).unlink(missing_ok=True)

    def _evict(self, now_us: int) -> None:
        for path in sorted(self._known, key=lambda p: (self._known[p].kept_us, p)):
            old = self._known[path].kept_us < now_us - self._keep_us
            if not old and self.bytes <= self._bytes_max and len(self._known) <= ENTRIES_MAX:
                return
            self._drop(path)

    def _path(self, session: str, event_id: str) -> Path:
        return self._folder / "events" / hashed_name(session) / f"{hashed_name(event_id)}.json"

    def _value(self, name: str) -> Path:
        return self._folder / "values" / name[:2] / name


def _read(path: Path) -> EntryManifest:
    if path.stat().st_size > ENTRY_BYTES_MAX:
        raise InvalidEntry("too large")
    return decode(path.read_bytes())
