"""The job of every peer that leaves the join to its user: read a record, join by session and event time, write a window.

Standard library only. The join keeps one bound per session and modality and judges lateness by it, as Braid does; what
Braid adds to it (restart without loss, ticks for silence, reasons for what is refused) is not here.
"""

from __future__ import annotations

import json
import os
from bisect import insort
from collections.abc import Iterable
from datetime import datetime
from heapq import heappop, heappush
from typing import Any, NamedTuple

MODALITIES = ("text", "video", "audio")
LATENESS_US = {"text": 500_000, "video": 500_000, "audio": 300_000}
BUCKET_US = 10_000_000
NEVER = -(1 << 62)


class PeerSettings(NamedTuple):
    """Where a peer works, from its environment."""

    servers: str
    prefix: str
    group: str
    redis_url: str
    size_us: int
    hop_us: int
    ttl_s: int

    def media(self, modality: str) -> str:
        return f"{self.prefix}.media.{modality}.v1"

    @property
    def windows(self) -> str:
        return f"{self.prefix}.windows.v1"


def read_settings() -> PeerSettings:
    """What the benchmark set."""
    e = os.environ
    return PeerSettings(
        e["BENCH_SERVERS"],
        e["BENCH_PREFIX"],
        e["BENCH_GROUP"],
        e["BENCH_REDIS"],
        int(e["BENCH_SIZE_MS"]) * 1000,
        int(e["BENCH_HOP_MS"]) * 1000,
        int(e["BENCH_TTL_S"]),
    )


class PeerChunk(NamedTuple):
    """One chunk, as far as the join needs it."""

    session: str
    modality: str
    source: str
    id: str
    t_us: int
    duration_us: int
    partition: int
    offset: int

    @property
    def redis_key(self) -> str:
        return f"peer:{self.session}:{self.t_us // BUCKET_US}"

    @property
    def redis_field(self) -> str:
        return f"{self.modality}:{self.partition}:{self.offset}"


def parse_record(
    modality: str, partition: int, offset: int, key: bytes | None, headers: Iterable[tuple[str, bytes]], value: bytes
) -> PeerChunk | None:
    """The chunk of a record, None for what is broken."""
    found = dict(headers)
    try:
        t_us = _us(found["ce_time"].decode())
        source, id, kind = found["ce_source"].decode(), found["ce_id"].decode(), found["content-type"]
        session = (key or b"").decode()
    except (KeyError, ValueError):
        return None
    if not session or not id or (modality == "video" and value[:2] != b"\xff\xd8"):
        return None
    duration_us = len(value) * 500_000 // int(kind[15:20]) if modality == "audio" else 0
    return PeerChunk(session, modality, source, id, t_us, duration_us, partition, offset)


def _us(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int(at.timestamp()) * 1_000_000 + at.microsecond


class _Lane:
    __slots__ = ("bound_us", "forget", "known")

    def __init__(self) -> None:
        self.bound_us = NEVER
        self.known: set[tuple[str, str, int]] = set()
        self.forget: list[tuple[int, tuple[str, str, int]]] = []


class SessionJoin:
    """The open windows of one session."""

    __slots__ = ("_hop_us", "_lanes", "_name", "_size_us", "_starts", "_windows")

    def __init__(self, name: str, size_us: int, hop_us: int) -> None:
        self._name, self._size_us, self._hop_us = name, size_us, hop_us
        self._lanes = {modality: _Lane() for modality in MODALITIES}
        self._starts: list[int] = []
        self._windows: dict[int, dict[str, list[PeerChunk]]] = {}

    def add(self, item: PeerChunk) -> list[dict[str, Any]]:
        """Take a chunk; the windows that it closed, in order."""
        lane, size_us, hop_us = self._lanes[item.modality], self._size_us, self._hop_us
        first = (item.t_us - size_us) // hop_us + 1
        last = -(-(item.t_us + max(item.duration_us, 1)) // hop_us)
        closed_us = lane.bound_us - size_us - LATENESS_US[item.modality]
        starts = [n * hop_us for n in range(first, last) if n * hop_us > closed_us]
        identity = item.source, item.id, item.t_us
        if not starts or identity in lane.known:
            return []  # late, or a copy
        lane.known.add(identity)
        heappush(lane.forget, (starts[-1], identity))
        for start in starts:
            if start not in self._windows:
                self._windows[start] = {modality: [] for modality in MODALITIES}
                insort(self._starts, start)
            self._windows[start][item.modality].append(item)
        reach_us = item.t_us + item.duration_us
        if reach_us <= lane.bound_us:
            return []
        lane.bound_us = reach_us
        closed_us = reach_us - size_us - LATENESS_US[item.modality]
        while lane.forget and lane.forget[0][0] <= closed_us:
            lane.known.discard(heappop(lane.forget)[1])
        limit_us = min(a.bound_us - LATENESS_US[m] for m, a in self._lanes.items()) - size_us
        out = []
        while self._starts and self._starts[0] <= limit_us:
            out.append(self._record(self._starts.pop(0)))
        return out

    def _record(self, start_us: int) -> dict[str, Any]:
        return window_record(self._name, start_us, self._windows.pop(start_us))


class WindowJoin:
    """All sessions."""

    def __init__(self, size_us: int, hop_us: int) -> None:
        self._size_us, self._hop_us = size_us, hop_us
        self._sessions: dict[str, SessionJoin] = {}

    def add(self, item: PeerChunk) -> list[dict[str, Any]]:
        """Take a chunk; the windows that it closed, in order."""
        session = self._sessions.get(item.session)
        if session is None:
            session = self._sessions[item.session] = SessionJoin(item.session, self._size_us, self._hop_us)
        return session.add(item)


def window_record(session: str, start_us: int, lanes: dict[str, list[PeerChunk]]) -> dict[str, Any]:
    """The record of a window, members by reference."""
    return {
        "session": session,
        "start_us": start_us,
        "members": {
            modality: [[i.source, i.id, i.t_us, i.duration_us, i.partition, i.offset] for i in items]
            for modality, items in lanes.items()
        },
    }


def encode_window(window: dict[str, Any]) -> bytes:
    """The bytes of a window's record."""
    return json.dumps(window, separators=(",", ":")).encode()


def queue_payloads(pipeline: Any, items: Iterable[tuple[PeerChunk, bytes]], ttl_s: int) -> None:
    """Queue the payloads in a Redis pipeline: one HSET for each session and ten seconds of event time."""
    buckets: dict[str, dict[str, bytes]] = {}
    for item, value in items:
        buckets.setdefault(item.redis_key, {})[item.redis_field] = value
    for key, mapping in buckets.items():
        pipeline.hset(key, mapping=mapping)
        pipeline.expire(key, ttl_s, nx=True)
