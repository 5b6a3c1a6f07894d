"""Ticks: records in a media topic that raise bounds where there is no data.

The seal of ticks: devices may write to the topics that ticks stand in, so a tick can carry who wrote it. Pure.
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
    """Explicit bounds of sessions in one modality (microseconds of event time) and why they hold."""

    bounds: Mapping[str, int]
    evidence: TickEvidence


def encode(bounds: Mapping[str, int], evidence: TickEvidence) -> Iterator[bytes]:
    """The tick records for these bounds: sessions in order, each record at most TICK_BYTES_MAX."""
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
    """The headers of a tick record: a CloudEvent whose id is its content, for two that say the same are one event."""
    return [*_HEADERS, ("ce_id", hashlib.sha256(value).hexdigest()[:16].encode())]


def decode(value: bytes) -> Tick | Rejected:
    """Read a tick's value; what does not have exactly its form is refused."""
    try:
        read = canonical.loads_object(value, TICK_BYTES_MAX)
    except canonical.InvalidJson as error:
        return Rejected(Reason.TICK, str(error))
    bounds, evidence = read.get("bounds"), read.get("evidence")
    if evidence not in ("tick", "end") or not isinstance(bounds, dict):
        return Rejected(Reason.TICK, "bounds or evidence is missing or of another form")
    if not all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds.values()):
        return Rejected(Reason.TICK, "a bound is not an integer")
    return Tick(bounds, cast(TickEvidence, evidence))


MAC_HEADER = "braid-mac"


@dataclass(frozen=True, slots=True)
class TickSigner:
    """HMAC-SHA256 over topic, partition number and value. The first secret signs, each of them is taken; none: no seal."""

    secrets: tuple[bytes, ...] = ()

    def sign(self, topic: str, partition: int, value: bytes) -> list[tuple[str, bytes]]:
        """The header that a tick goes out with."""
        return [(MAC_HEADER, _mac(self.secrets[0], topic, partition, value))] if self.secrets else []

    def verify(self, topic: str, partition: int, headers: Headers, value: bytes) -> bool:
        """True for a tick that one of the secrets signed for this very place; for every tick where there is no secret."""
        if not self.secrets:
            return True
        stated = [raw for name, raw in headers if name == MAC_HEADER and raw]
        return len(stated) == 1 and any(
            hmac.compare_digest(stated[0], _mac(secret, topic, partition, value)) for secret in self.secrets
        )


def _mac(secret: bytes, topic: str, partition: int, value: bytes) -> bytes:
    place = f"{topic}\0{partition}\0".encode()
    return hmac.new(secret, place + value, hashlib.sha256).hexdigest().encode()
