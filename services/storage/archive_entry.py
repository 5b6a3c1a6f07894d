"""An entry: one event with the windows, predictions and media records that it was made from."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.contract import canonical
from services.contract.record import KafkaRecord, RecordPosition

ENTRY_BYTES_MAX = 64 * 1024 * 1024


class InvalidEntry(ValueError):
    """A file that is no entry, or one that was changed."""


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """All records as they stood on the broker; predictions and windows of one event, and their members once each.

    kept_us: when it was kept, on the wall clock of the one who keeps.
    """

    event_id: str
    session: str
    archived_us: int
    events: Sequence[KafkaRecord]
    windows: Sequence[KafkaRecord]
    predictions: Sequence[KafkaRecord]
    media: Sequence[KafkaRecord]

    @property
    def blobs(self) -> dict[str, bytes]:
        """The media values by their sha256."""
        return {sha256_of(kept.value): kept.value for kept in self.media if kept.value}


def sha256_of(value: bytes | None) -> str:
    """The name under which a value is kept."""
    return hashlib.sha256(value or b"").hexdigest()


def encode(entry: ArchiveEntry) -> bytes:
    """Canonical JSON; of media only the names of their values."""
    return canonical.dumps(
        {
            "event_id": entry.event_id,
            "session": entry.session,
            "kept_us": entry.archived_us,
            "events": [_record(kept) for kept in entry.events],
            "windows": [_record(kept) for kept in entry.windows],
            "predictions": [_record(kept) for kept in entry.predictions],
            "media": [
                _place(kept) | {"sha256": sha256_of(kept.value), "bytes": len(kept.value or b"")}
                for kept in entry.media
            ],
        }
    )


@dataclass(frozen=True, slots=True)
class EntrySummary:
    """What of a manifest is kept in memory; size: its own bytes."""

    session: str
    kept_us: int
    size: int


@dataclass(frozen=True, slots=True)
class EntryManifest:
    """An entry as its file tells it: media still by name."""

    told: Mapping[str, Any]
    size: int

    @property
    def event_id(self) -> str:
        return str(self.told["event_id"])

    @property
    def session(self) -> str:
        return str(self.told["session"])

    @property
    def kept_us(self) -> int:
        return int(self.told["kept_us"])

    @property
    def blobs(self) -> dict[str, int]:
        """Bytes by name of the media values; an alive record has none."""
        return {m["sha256"]: m["bytes"] for m in self.told["media"] if m["bytes"]}

    @property
    def known(self) -> EntrySummary:
        return EntrySummary(self.session, self.kept_us, self.size)

    def media_at(self, place: RecordPosition) -> Iterator[tuple[str, KafkaRecord]]:
        """The media records of a topic, partition and offset, still without their values, which have these names."""
        for m in self.told["media"]:
            if (m["topic"], m["partition"], m["offset"]) == place:
                yield m["sha256"], _kept(m, None)

    def entry(self, values: Mapping[str, bytes]) -> ArchiveEntry:
        """With its media, as far as their values are there."""
        t = self.told
        media = [_kept(m, values.get(m["sha256"]) if m["bytes"] else b"") for m in t["media"]]
        events, windows, predictions = (
            [_kept(r, base64.b64decode(r["value"])) for r in t[name]] for name in ("events", "windows", "predictions")
        )
        return ArchiveEntry(self.event_id, self.session, self.kept_us, events, windows, predictions, media)


def decode(raw: bytes) -> EntryManifest:
    """Read a manifest, checked whole. Raises BadEntry."""
    try:
        told = canonical.loads_object(raw, ENTRY_BYTES_MAX)
        found = EntryManifest(told, len(raw))
        if not all(_is_name(name) and type(size) is int and size >= 0 for name, size in found.blobs.items()):
            raise InvalidEntry("a name of a value is none")
        found.entry({})
        int(found.kept_us)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise InvalidEntry(f"no entry ({type(error).__name__})") from None
    return found


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) == 64 and set(name) <= set("0123456789abcdef")


def _place(kept: KafkaRecord) -> dict[str, Any]:
    return {
        "topic": kept.topic,
        "partition": kept.partition,
        "offset": kept.offset,
        "timestamp_ms": kept.timestamp,
        "key": None if kept.key is None else _text(kept.key),
        "headers": [[name, None if raw is None else _text(raw)] for name, raw in kept.headers],
    }


def _record(kept: KafkaRecord) -> dict[str, Any]:
    return {**_place(kept), "value": _text(kept.value or b"")}


def _kept(told: Mapping[str, Any], value: bytes | None) -> KafkaRecord:
    headers: list[tuple[str, Any]] = [(n, None if raw is None else base64.b64decode(raw)) for n, raw in told["headers"]]
    key = None if told["key"] is None else base64.b64decode(told["key"])
    return KafkaRecord(told["topic"], told["partition"], told["offset"], told["timestamp_ms"], key, headers, value)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
