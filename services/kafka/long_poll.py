"""Fetches that wait for seconds at the broker without delaying a record, and let records gather while few come.

aiokafka has one fetch in flight per broker. A partition that was being consumed when it was sent is not part of it, and
what arrives there waits until it returns. So a fetch waits long only if it covers every partition; it has a connection
of its own, because a broker answers the requests of one connection in order; and a `seek` ends it.

A fetch, its records' way through a service, and what that writes cost nearly as much for one record as for twenty. So
after a fetch that brought little, the next one waits for the linger time of the consumer. The first record after a
pause is delivered at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.consumer import consumer, fetcher
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from services.kafka.fetch_sessions import FetchSession
from services.runtime.metric_definitions import FETCHES

# A fetch that does not cover every partition waits this long at most, or for the linger time if that is longer.
SHORT_POLL_MS = 50
# How long a fetch waits at rest. A broker that dies closes the connection, which ends the fetch at once.
LONG_POLL_MS = 5_000
# With this much in one fetch a consumer is behind, or records come fast enough to gather by themselves.
LINGER_BYTES_MAX = 1024 * 1024
# aiokafka numbers the connections to a broker by what they are for.
_FETCH_GROUP = len(ConnectionGroup)


class FetchConnections:
    """aiokafka's client with connections of their own for fetches, and a session for each."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._sessions: dict[int, FetchSession] = {}
        self.fetched_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: int, request: Any) -> Any:
        """Send a request and return its response. Raises KafkaError."""
        if not isinstance(request, FetchRequest):
            return await self._client.send(node_id, request)
        session = self._sessions.setdefault(node_id, FetchSession())
        accepted = False
        while not accepted:
            FETCHES.inc()
            try:
                response = await self._client.send(node_id, session.wrap(request), group=_FETCH_GROUP)
            except asyncio.CancelledError:
                session.restart()
                # The broker would answer the next fetch on this connection only after the one that was given up.
                connection = self._client._conns.pop((node_id, _FETCH_GROUP), None)
                if connection is not None:
                    connection.close()
                raise
            except KafkaError:
                session.restart()
                raise
            accepted = session.accept(response)
        # The records are the last field of a partition in every version of the response.
        self.fetched_bytes = sum(len(partition[-1] or b"") for _, logs in response.topics for partition in logs)
        return response

    def restart_sessions(self) -> None:
        """Ask for all partitions next time, so that the answer has the ends of all."""
        for session in self._sessions.values():
            session.restart()


class LongPollFetcher(fetcher.Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher, which waits for the consumer's `fetch_max_wait_ms` only where that delays nothing.

    `linger_s` is how long records may gather while few come.
    """

    def __init__(self, client: Any, subscriptions: Any, **options: Any) -> None:
        self.linger_s, self._next_fetch_s = 0.0, 0.0
        self._assignment: Any = None
        self._polls: set[asyncio.Task[Any]] = set()
        self._long_poll_ms: int = options["fetch_max_wait_ms"]
        # Everything that makes a fetch possible wakes the fetcher: it need not look five times a second.
        options["fetcher_timeout"] = LONG_POLL_MS / 1000
        super().__init__(FetchConnections(client), subscriptions, **options)

    def seek_to(self, tp: TopicPartition, offset: int) -> None:
        """Move to an offset, and end the fetches that wait at another one."""
        state = self._subscriptions.subscription.assignment.state_value(tp)
        if not state.has_valid_position or state.position != offset:
            for poll in self._polls:
                poll.cancel()
            self._polls.clear()
            self._next_fetch_s = 0.0
        super().seek_to(tp, offset)

    def _get_actions_per_node(self, assignment: Any) -> Any:
        if assignment is not self._assignment:
            self._assignment = assignment
            self._client.restart_sessions()
        if self._in_flight and not self._pending_tasks:
            # aiokafka notes the end of a fetch in the next turn of the event loop, and sends none before: look again then.
            return [], {}, 0, False, []
        if (wait_s := self._next_fetch_s - time.monotonic()) > 0:
            return [], {}, wait_s, False, []
        is_partial = self._records or any(assignment.state_value(tp).paused for tp in assignment.tps)
        short_ms = min(max(SHORT_POLL_MS, int(self.linger_s * 1000)), self._long_poll_ms)
        self._fetch_max_wait_ms = short_ms if is_partial else self._long_poll_ms
        return super()._get_actions_per_node(assignment)

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> Any:
        poll = asyncio.current_task()
        assert poll is not None
        self._polls.add(poll)
        try:
            has_records = await super()._proc_fetch_request(assignment, node_id, request)
        finally:
            self._polls.discard(poll)
        if has_records and self._client.fetched_bytes < LINGER_BYTES_MAX:
            self._next_fetch_s = time.monotonic() + self.linger_s
        return has_records


class LingeringConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer whose fetches wait long, and that lets records gather for `linger_ms` while few come."""

    def __init__(self, *, linger_ms: int = 0, **options: Any) -> None:
        super().__init__(**{"fetch_max_wait_ms": LONG_POLL_MS, **options})
        self._linger_ms = linger_ms

    async def start(self) -> None:
        """Connect. Raises KafkaError."""
        await super().start()
        self.let_gather(self._linger_ms)

    def let_gather(self, linger_ms: int) -> None:
        """Let records gather for so long after the next fetch that brings few."""
        self._fetcher.linger_s = linger_ms / 1000


def install() -> None:
    """Make aiokafka's consumers of this process use this fetcher."""
    consumer.Fetcher = LongPollFetcher
