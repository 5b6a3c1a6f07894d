"""Ticks (idle records): records in a media topic that raise watermarks of streams without data.

Devices may write to media topics too, so a tick can be signed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from services.contract import canonical
from services.contract.dead_letter import Reason, Rejected
from services.contract.record import Headers

TICK_TYPE = "braid.tick.v1"
TICK_BYTES_MAX = 64 * 1024
TICK_SOURCE = "/braid/aligner"
_HEADERS = [
    ("ce_specversion", b"1.0"),
    ("ce_type", TICK_TYPE.encode()),
    ("ce_source", TICK_SOURCE.encode()),
    ("content-type", b"application/json"),
]
TickEvidence = Literal["tick", "end"]


@dataclass(frozen=True, slots=True)
class Tick:
    """Watermarks of sessions in one modality (microseconds of event time), and what they rest on."""

    bounds: Mapping[str, int]
    evidence: TickEvidence


def encode(bounds: Mapping[str, int], evidence: TickEvidence) -> Iterator[bytes]:
    """Encode watermarks as tick records of at most TICK_BYTES_MAX, sessions in order."""
    part: dict[str, int] = {}
    size = frame = len(canonical.dumps({"bounds": {}, "evidence": evidence}))
    for session in sorted(bounds):
        entry = len(canonical.dumps({session: bounds[session]})) - 1  # without one brace, with a comma
        if part and size + entry > TICK_BYTES_MAX:
            yield canonical.dumps({"bounds": part, "evidence": evidence})
            part, size = {}, frame
        part[session] = bounds[session]
        size += entry
    if part:
        yield canonical.dumps({"bounds": part, "evidence": evidence})


def headers(value: bytes) -> list[tuple[str, bytes]]:
    """Return the headers of a tick record; its ce_id is a hash of its content, so equal ticks are one event."""
    return [*_HEADERS, ("ce_id", hashlib.sha256(value).hexdigest()[:16].encode())]


def decode(value: bytes) -> Tick | Rejected:
    """Decode the value of a tick; a value of any other form is rejected."""
    try:
        fields = canonical.loads_object(value, TICK_BYTES_MAX)
    except canonical.InvalidJson as error:
        return Rejected(Reason.TICK, str(error))
    bounds, evidence = fields.get("bounds"), fields.get("evidence")
    if evidence not in ("tick", "end") or not isinstance(bounds, dict):
        return Rejected(Reason.TICK, "bounds or evidence is missing or of another form")
    if not all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds.values()):
        return Rejected(Reason.TICK, "a bound is not an integer")
    return Tick(bounds, cast(TickEvidence, evidence))


MAC_HEADER = "braid-mac"


@dataclass(frozen=True, slots=True)
class TickSigner:
    """HMAC-SHA256 over topic, partition and value. The first secret signs, all verify; without one it is off."""

    secrets: tuple[bytes, ...] = ()

    def sign(self, topic: str, partition: int, value: bytes) -> list[tuple[str, bytes]]:
        """Return the signature header of a tick."""
        return [(MAC_HEADER, _mac(self.secrets[0], topic, partition, value))] if self.secrets else []

    def verify(self, topic: str, partition: int, headers: Headers, value: bytes) -> bool:
        """Return True if one of the secrets signed the tick for this topic and partition, or if there is no secret."""
        if not self.secrets:
            return True
        signatures = [raw for name, raw in headers if name == MAC_HEADER and raw]
        return len(signatures) == 1 and any(
            hmac.compare_digest(signatures[0], _mac(secret, topic, partition, value)) for secret in self.secrets
        )


def _mac(secret: bytes, topic: str, partition: int, value: bytes) -> bytes:
    place = f"{topic}\0{partition}\0".encode()
    return hmac.new(secret, place + value, hashlib.sha256).hexdigest().encode()
