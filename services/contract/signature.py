"""Signatures of the records that Braid's services write and act on.

A device that may write to a topic must not be able to close windows, mute sessions or announce events. Each record that a
service writes carries an HMAC-SHA256 in a header, so the value keeps its bytes. A writer without a secret can only repeat such
a record at its own place; `braid topics acl` prints the access rules that prevent this too.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from services.contract.kafka_record import ConsumedRecord, Headers, LogRecord

MAC_HEADER = "braid-mac"
# Topics that only services write, by the last part of their names before the version.
_SIGNED = frozenset(("windows", "frontier", "predictions", "events", "control", "late", "dead"))


@lru_cache(1_024)
def is_signed_topic(topic: str) -> bool:
    """Return whether every record of a topic is signed; in media topics only idle records are."""
    parts = topic.split(".")
    return len(parts) >= 3 and parts[-1] == "v1" and parts[-2] in _SIGNED and parts[-3] != "media"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs records and verifies signatures. The first secret signs, all verify; without one it is off.

    Attributes:
        secrets: The shared secrets of the services.
        accept_unsigned_before_ms: Records that the broker appended before this time need no signature: an installation
            has them from the time before it had a secret.
    """

    secrets: tuple[bytes, ...] = ()
    accept_unsigned_before_ms: int = 0

    def sign(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> list[tuple[str, bytes]]:
        """Return the headers of a record with its signature, or as they are if there is no secret."""
        own = [(name, raw) for name, raw in headers if name != MAC_HEADER]
        if self.secrets:
            own.append((MAC_HEADER, _mac(self.secrets[0], _message(topic, partition, key, value, own))))
        return own

    def verify(self, topic: str, partition: int, record: LogRecord) -> bool:
        """Return True if one of the secrets signed the record for this place, or if it needs no signature."""
        if not self.secrets or record.timestamp < self.accept_unsigned_before_ms:
            return True
        signatures = [raw for name, raw in record.headers if name == MAC_HEADER]
        if len(signatures) != 1 or signatures[0] is None:
            return False
        signed = [(name, raw) for name, raw in record.headers if name != MAC_HEADER]
        message = _message(topic, partition, record.key, record.value, signed)
        return any(hmac.compare_digest(signatures[0], _mac(secret, message)) for secret in self.secrets)

    def is_forged(self, record: ConsumedRecord) -> bool:
        """Return whether only a service may write such a record, and none has: media belong to devices and have a key."""
        if record.key is not None and not is_signed_topic(record.topic):
            return False
        return not self.verify(record.topic, record.partition, record)


def is_signed(headers: Headers) -> bool:
    """Return whether a record has a signature, valid or not."""
    return any(name == MAC_HEADER for name, _ in headers)


def _message(topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """Join the parts of a record, after their lengths: no two records have the same bytes."""
    parts: list[bytes | None] = [topic.encode(), b"%d" % partition, key, value]
    for name, raw in headers:
        parts.append(name.encode("utf-8", "backslashreplace"))
        parts.append(raw)
    return _lengths(parts) + b"".join([part for part in parts if part is not None])


def _lengths(parts: Iterable[bytes | None]) -> bytes:
    return (",".join(["-" if part is None else str(len(part)) for part in parts]) + "\0").encode()


def _mac(secret: bytes, message: bytes) -> bytes:
    return hmac.digest(secret, message, "sha256").hex().encode()
