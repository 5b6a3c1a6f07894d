"""The job of the peers, by hand: parse records, join them by session and event time, encode windows.

Standard library only. The join has one watermark per session and modality and judges lateness by it, as Braid does. What
Braid adds (recovery without loss, idle records, reasons for rejected records) is left out.
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
    """The broker, the topics, Redis and the windows of a peer, from environment variables."""

    servers: str
    prefix: str
    group: str
    redis_url: str
    size_us: int
    hop_us: int
    ttl_s: int

    def media(self, modality: str) -> str:
        """Return the topic of a modality."""
        return f"{self.prefix}.media.{modality}.v1"

    @property
    def windows(self) -> str:
        """The topic of the windows."""
        return f"{self.prefix}.windows.v1"


def read_settings() -> PeerSettings:
    """Read the settings that the benchmark gives a peer."""
    variables = os.environ
    return PeerSettings(
        variables["BENCH_SERVERS"],
        variables["BENCH_PREFIX"],
        variables["BENCH_GROUP"],
        variables["BENCH_REDIS"],
        int(variables["BENCH_SIZE_MS"]) * 1000,
        int(variables["BENCH_HOP_MS"]) * 1000,
        int(variables["BENCH_TTL_S"]),
    )


class PeerChunk(NamedTuple):
    """What the join needs of a chunk."""

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
        """The Redis hash of its payload: one per session and ten seconds."""
        return f"peer:{self.session}:{self.t_us // BUCKET_US}"

    @property
    def redis_field(self) -> str:
        """The field of its payload in that hash."""
        return f"{self.modality}:{self.partition}:{self.offset}"


def parse_record(
    modality: str, partition: int, offset: int, key: bytes | None, headers: Iterable[tuple[str, bytes]], value: bytes
) -> PeerChunk | None:
    """Parse a record; return None if it is broken."""
    by_name = dict(headers)
    try:
        t_us = _us(by_name["ce_time"].decode())
        source, id, content_type = by_name["ce_source"].decode(), by_name["ce_id"].decode(), by_name["content-type"]
        session = (key or b"").decode()
    except (KeyError, ValueError):
        return None
    if not session or not id or (modality == "video" and value[:2] != b"\xff\xd8"):
        return None
    duration_us = len(value) * 500_000 // int(content_type[15:20]) if modality == "audio" else 0
    return PeerChunk(session, modality, source, id, t_us, duration_us, partition, offset)


def _us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


class _PeerStream:
    __slots__ = ("expiries", "seen", "watermark_us")

    def __init__(self) -> None:
        self.watermark_us = NEVER
        self.seen: set[tuple[str, str, int]] = set()
        self.expiries: list[tuple[int, tuple[str, str, int]]] = []


class SessionJoin:
    """The open windows of one session."""

    __slots__ = ("_hop_us", "_name", "_size_us", "_starts", "_streams", "_windows")

    def __init__(self, name: str, size_us: int, hop_us: int) -> None:
        self._name, self._size_us, self._hop_us = name, size_us, hop_us
        self._streams = {modality: _PeerStream() for modality in MODALITIES}
        self._starts: list[int] = []
        self._windows: dict[int, dict[str, list[PeerChunk]]] = {}

    def add(self, chunk: PeerChunk) -> list[dict[str, Any]]:
        """Add a chunk, and return the windows that it completes, in order."""
        stream, size_us, hop_us = self._streams[chunk.modality], self._size_us, self._hop_us
        first = (chunk.t_us - size_us) // hop_us + 1
        last = -(-(chunk.t_us + max(chunk.duration_us, 1)) // hop_us)
        closed_us = stream.watermark_us - size_us - LATENESS_US[chunk.modality]
        starts = [n * hop_us for n in range(first, last) if n * hop_us > closed_us]
        identity = chunk.source, chunk.id, chunk.t_us
        if not starts or identity in stream.seen:
            return []  # late or repeated
        stream.seen.add(identity)
        heappush(stream.expiries, (starts[-1], identity))
        for start in starts:
            if start not in self._windows:
                self._windows[start] = {modality: [] for modality in MODALITIES}
                insort(self._starts, start)
            self._windows[start][chunk.modality].append(chunk)
        end_us = chunk.t_us + chunk.duration_us
        if end_us <= stream.watermark_us:
            return []
        stream.watermark_us = end_us
        closed_us = end_us - size_us - LATENESS_US[chunk.modality]
        while stream.expiries and stream.expiries[0][0] <= closed_us:
            stream.seen.discard(heappop(stream.expiries)[1])
        limit_us = min(s.watermark_us - LATENESS_US[m] for m, s in self._streams.items()) - size_us
        windows = []
        while self._starts and self._starts[0] <= limit_us:
            windows.append(self._record(self._starts.pop(0)))
        return windows

    def _record(self, start_us: int) -> dict[str, Any]:
        return window_record(self._name, start_us, self._windows.pop(start_us))


class WindowJoin:
    """The join of all sessions."""

    def __init__(self, size_us: int, hop_us: int) -> None:
        self._size_us, self._hop_us = size_us, hop_us
        self._sessions: dict[str, SessionJoin] = {}

    def add(self, chunk: PeerChunk) -> list[dict[str, Any]]:
        """Add a chunk, and return the windows that it completes, in order."""
        session = self._sessions.get(chunk.session)
        if session is None:
            session = self._sessions[chunk.session] = SessionJoin(chunk.session, self._size_us, self._hop_us)
        return session.add(chunk)


def window_record(session: str, start_us: int, streams: dict[str, list[PeerChunk]]) -> dict[str, Any]:
    """Return the record of a window, with references to its members."""
    return {
        "session": session,
        "start_us": start_us,
        "members": {
            modality: [[i.source, i.id, i.t_us, i.duration_us, i.partition, i.offset] for i in items]
            for modality, items in streams.items()
        },
    }


def encode_window(window: dict[str, Any]) -> bytes:
    """Encode a window record as JSON."""
    return json.dumps(window, separators=(",", ":")).encode()


def queue_payloads(pipeline: Any, chunks: Iterable[tuple[PeerChunk, bytes]], ttl_s: int) -> None:
    """Add payloads to a Redis pipeline, with one HSET per session and ten seconds of event time."""
    buckets: dict[str, dict[str, bytes]] = {}
    for chunk, value in chunks:
        buckets.setdefault(chunk.redis_key, {})[chunk.redis_field] = value
    for key, mapping in buckets.items():
        pipeline.hset(key, mapping=mapping)
        pipeline.expire(key, ttl_s, nx=True)
