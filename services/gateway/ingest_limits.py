"""Limits of what HTTP accepts: quotas of sources and sessions, and the rate and sessions of a client. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from math import ceil

from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk
from services.contract.partitioner import partition_of
from services.contract.quotas import OpenSessions, QuotaLimits, Usage, count_chunk

# A client may send this many seconds of its rate at once, so that a device can send what it kept while it was offline.
BURST_S = 10
# A session counts for its client for so long after its last record.
SESSION_S = 60
# The client that sent least recently is forgotten first, and so are the counts of the hop that came first.
CLIENTS_MAX, HOPS_MAX = 256, 2_000


@dataclass(frozen=True, slots=True)
class Exceeded:
    """What limit a request exceeds, and after how many seconds it is worth another try."""

    detail: str
    retry_after_s: int


class IngestQuotas:
    """The quotas of the alignment settings, counted by event time as alignment counts them.

    Only records of this gateway are counted, so alignment may still reject one of a source that other ways send too. The
    sessions of a source are counted by the gateway's clock, because the append time is not known yet.

    Args:
        config: The alignment settings.
        partition_count: The partitions of each topic.
    """

    def __init__(self, config: AlignmentConfig, partition_count: int) -> None:
        self._config, self._limits, self._partition_count = config, QuotaLimits(config), partition_count
        self._hops: OrderedDict[tuple[str, str, int], Usage] = OrderedDict()
        self._open_sessions: dict[tuple[str, int], OpenSessions] = {}

    def count(self, chunk: Chunk, now_us: int) -> Exceeded | None:
        """Count a chunk; return what quota it exceeds, None if it is within all of them. `now_us` is the wall clock."""
        log = chunk.modality, partition_of(chunk.session.encode(), self._partition_count)
        sessions = self._open_sessions.get(log)
        if sessions is None:
            sessions = self._open_sessions[log] = OpenSessions(self._config)
        if (detail := sessions.count(chunk.session, chunk.source, now_us)) is not None:
            return Exceeded(detail, ceil((sessions.end_us - now_us) / 1_000_000))
        starts = self._config.window_starts(chunk.t_us, chunk.duration_us)
        if not starts or not self._limits.enabled:
            return None
        hop = chunk.session, chunk.modality, starts[-1]
        usage = self._hops.get(hop)
        if usage is None:
            usage = self._hops[hop] = {}
            if len(self._hops) > HOPS_MAX:
                self._hops.popitem(last=False)
        elif (detail := self._limits.exceeded(usage, chunk)) is not None:
            return Exceeded(detail, ceil(self._config.hop_us / 1_000_000))
        count_chunk(usage, chunk)
        return None


@dataclass(slots=True)
class _Client:
    """What a client has left: records at a time (s), and its sessions by the time of their last record (oldest first)."""

    records: float
    at_s: float
    sessions: OrderedDict[str, float] = field(default_factory=OrderedDict)


class ClientLimits:
    """Token buckets of clients, and how many sessions each may send in at the same time.

    Args:
        records_per_s: The rate of a client.
        sessions_max: The most sessions of a client within SESSION_S.
    """

    def __init__(self, records_per_s: int, sessions_max: int) -> None:
        self._rate, self._sessions_max = records_per_s, sessions_max
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    def count_record(self, address: str, now_s: float) -> Exceeded | None:
        """Count a record of a client; return what it exceeds. `now_s` is a monotonic clock."""
        client, burst = self._client(address, now_s), self._rate * BURST_S
        client.records = min(client.records + (now_s - client.at_s) * self._rate, burst)
        client.at_s = now_s
        if client.records < 1:
            wait_s = ceil((1 - client.records) / self._rate)
            return Exceeded(
                f"this client sends more than {self._rate} records/s (gateway.client_records_per_s)", wait_s
            )
        client.records -= 1
        return None

    def count_session(self, address: str, session: str, now_s: float) -> Exceeded | None:
        """Count a record of a client in a session; return what it exceeds."""
        sessions = self._client(address, now_s).sessions
        if session not in sessions and len(sessions) >= self._sessions_max:
            oldest_s = next(iter(sessions.values()))
            if now_s - oldest_s < SESSION_S:
                return Exceeded(
                    f"this client sends in more than {self._sessions_max} sessions within {SESSION_S} s "
                    "(gateway.client_sessions_max)",
                    ceil(oldest_s + SESSION_S - now_s),
                )
            sessions.popitem(last=False)
        sessions[session] = now_s
        sessions.move_to_end(session)
        return None

    def _client(self, address: str, now_s: float) -> _Client:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = _Client(self._rate * BURST_S, now_s)
            if len(self._clients) > CLIENTS_MAX:
                self._clients.popitem(last=False)
        self._clients.move_to_end(address)
        return client
