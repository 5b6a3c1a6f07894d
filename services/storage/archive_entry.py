"""An archive entry: one event with the windows, predictions and media records that it was made from."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.contract import canonical
from services.contract.kafka_record import KafkaRecord, RecordPosition

ENTRY_BYTES_MAX = 64 * 1024 * 1024


class InvalidEntry(ValueError):
    """A file that is not an archive entry, or one that was changed."""


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """All records of one event as they were on the broker, each once; `archived_us` is the wall clock of the archiver."""

    event_id: str
    session: str
    archived_us: int
    events: Sequence[KafkaRecord]
    windows: Sequence[KafkaRecord]
    predictions: Sequence[KafkaRecord]
    media: Sequence[KafkaRecord]

    @property
    def blobs(self) -> dict[str, bytes]:
        """The media values by their SHA-256."""
        return {sha256_of(record.value): record.value for record in self.media if record.value}


@dataclass(frozen=True, slots=True)
class EntrySummary:
    """What memory holds of a manifest; `size` is the length of its file."""

    session: str
    archived_us: int
    size: int


@dataclass(frozen=True, slots=True)
class EntryManifest:
    """The file of an entry, in which media values are names; `size` is its length."""

    fields: Mapping[str, Any]
    size: int

    @property
    def session(self) -> str:
        """The session of the event."""
        return str(self.fields["session"])

    @property
    def blobs(self) -> dict[str, int]:
        """The sizes of the media values by name; alive records have no value."""
        return {m["sha256"]: m["bytes"] for m in self.fields["media"] if m["bytes"]}

    @property
    def summary(self) -> EntrySummary:
        """What memory holds of the manifest."""
        return EntrySummary(self.session, int(self.fields["kept_us"]), self.size)

    def media_at(self, position: RecordPosition) -> Iterator[tuple[str, KafkaRecord]]:
        """Yield the media records of a position without their values, each with the name of its value."""
        for m in self.fields["media"]:
            if (m["topic"], m["partition"], m["offset"]) == position:
                yield m["sha256"], _decode_record(m, None)

    def entry(self, values: Mapping[str, bytes]) -> ArchiveEntry:
        """Return the entry with its media values, as far as `values` has them."""
        fields = self.fields
        media = [_decode_record(m, values.get(m["sha256"]) if m["bytes"] else b"") for m in fields["media"]]
        events, windows, predictions = (
            [_decode_record(r, base64.b64decode(r["value"])) for r in fields[name]]
            for name in ("events", "windows", "predictions")
        )
        archived_us = self.summary.archived_us
        return ArchiveEntry(str(fields["event_id"]), self.session, archived_us, events, windows, predictions, media)


def sha256_of(value: bytes | None) -> str:
    """Return the name of a value."""
    return hashlib.sha256(value or b"").hexdigest()


def encode(entry: ArchiveEntry) -> bytes:
    """Encode an entry as canonical JSON, with the names of media values instead of the values."""
    return canonical.dumps(
        {
            "event_id": entry.event_id,
            "session": entry.session,
            "kept_us": entry.archived_us,
            "events": [_encode_record(record) for record in entry.events],
            "windows": [_encode_record(record) for record in entry.windows],
            "predictions": [_encode_record(record) for record in entry.predictions],
            "media": [
                _encode_head(record) | {"sha256": sha256_of(record.value), "bytes": len(record.value or b"")}
                for record in entry.media
            ],
        }
    )


def decode(raw: bytes) -> EntryManifest:
    """Decode and check a manifest. Raises InvalidEntry."""
    try:
        manifest = EntryManifest(canonical.loads_object(raw, ENTRY_BYTES_MAX), len(raw))
        # The name becomes part of a path.
        if not all(_is_sha256(name) and type(size) is int and size >= 0 for name, size in manifest.blobs.items()):
            raise InvalidEntry("the name of a value is not a SHA-256")
        manifest.entry({})
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise InvalidEntry(f"not an archive entry ({type(error).__name__})") from None
    return manifest


def _is_sha256(name: object) -> bool:
    return isinstance(name, str) and len(name) == 64 and set(name) <= set("0123456789abcdef")


def _encode_head(record: KafkaRecord) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": None if record.key is None else _base64(record.key),
        "headers": [[name, None if raw is None else _base64(raw)] for name, raw in record.headers],
    }


def _encode_record(record: KafkaRecord) -> dict[str, Any]:
    return {**_encode_head(record), "value": _base64(record.value or b"")}


def _decode_record(r: Mapping[str, Any], value: bytes | None) -> KafkaRecord:
    headers: list[tuple[str, Any]] = [(n, None if raw is None else base64.b64decode(raw)) for n, raw in r["headers"]]
    key = None if r["key"] is None else base64.b64decode(r["key"])
    return KafkaRecord(r["topic"], r["partition"], r["offset"], r["timestamp_ms"], key, headers, value)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
