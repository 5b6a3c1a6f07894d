"""Ticks (idle records): records in a media topic that raise watermarks of streams without data.

Devices may write to media topics too, so ticks are signed (`signature`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from services.contract import canonical
from services.contract.dead_letter import Reason, Rejected
from services.contract.output_events import ALIGNER_SOURCE
from services.contract.record_fields import ContractError, check_time_us

TICK_TYPE = "braid.tick.v1"
TICK_BYTES_MAX = 64 * 1024
TICK_SOURCE = ALIGNER_SOURCE
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
    try:
        for bound in bounds.values():
            check_time_us(bound, "a bound")
    except ContractError as error:
        return Rejected(Reason.TICK, str(error))
    return Tick(bounds, cast(TickEvidence, evidence))
