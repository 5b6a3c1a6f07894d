"""Fetch the payloads that windows need and that are not decoded yet, from Redis or else from the log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from services.contract.kafka_record import MemberPosition
from services.contract.window import Member, Window, position_of
from services.storage.payload_cache import Payload, PayloadCache, PayloadRequest
from services.storage.payload_log import PayloadLog


class PayloadFetcher:
    """Reads from Redis once for a batch of windows, and from the log what is missing there.

    Attributes:
        counts: How many payloads came from where; `memory` are those that were decoded already.
    """

    def __init__(
        self, redis: PayloadCache, log: PayloadLog, undecoded: Callable[[str, Sequence[Member]], Sequence[Member]]
    ) -> None:
        self._redis, self._log, self._undecoded = redis, log, undecoded
        self.counts = {"redis": 0, "log": 0, "memory": 0, "nowhere": 0}

    async def fetch(self, windows: Sequence[Window]) -> dict[MemberPosition, Payload]:
        """Return the payloads that are left, by position; without Redis this is only slower."""
        wanted: dict[MemberPosition, PayloadRequest] = {}
        for window in windows:
            for modality, stream in window.modalities.items():
                if modality in window.muted:
                    continue
                undecoded = self._undecoded(modality, stream.members)
                self.counts["memory"] += len(stream.members) - len(undecoded)
                for m in undecoded:
                    place = position_of(modality, m)
                    if not m.alive and place not in wanted:
                        wanted[place] = PayloadRequest(
                            window.session, modality, m.t_us, m.partition, m.offset, m.sha256
                        )
        items = list(wanted.values())
        found = await self._redis.get(items)
        # Offsets begin anew on a new broker and Redis may outlive the old one: compare the bytes.
        right = [p if p is not None and _matches(p, w) else None for p, w in zip(found, items, strict=True)]
        missing = {place: item for place, item in enumerate(items) if right[place] is None}
        from_log = await self._log.get(missing)
        self.counts["redis"] += len(items) - len(missing)
        self.counts["log"] += len(from_log)
        self.counts["nowhere"] += len(missing) - len(from_log)
        out: dict[MemberPosition, Payload] = {}
        for at, place in enumerate(wanted):
            payload = right[at] or from_log.get(at)
            if payload is not None:
                out[place] = payload
        return out


def _matches(payload: Payload, wanted: PayloadRequest) -> bool:
    return hashlib.sha256(payload.body).hexdigest() == wanted.sha256
