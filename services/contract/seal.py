"""The seal of ticks: devices may write to the topics that ticks stand in, so a tick can carry who wrote it. Pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from services.contract.envelope import Headers

MAC_HEADER = "braid-mac"


@dataclass(frozen=True, slots=True)
class Seal:
    """HMAC-SHA256 over topic, partition number and value. The first secret signs, each of them is taken; none: no seal."""

    secrets: tuple[bytes, ...] = ()

    def sign(self, topic: str, partition: int, value: bytes) -> list[tuple[str, bytes]]:
        """The header that a tick goes out with."""
        return [(MAC_HEADER, _mac(self.secrets[0], topic, partition, value))] if self.secrets else []

    def holds(self, topic: str, partition: int, headers: Headers, value: bytes) -> bool:
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
