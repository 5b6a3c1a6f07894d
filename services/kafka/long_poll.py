"""Fetches that wait for seconds at the broker without delaying a record.

aiokafka has one fetch in flight per broker. A partition that was being consumed when it was sent is not part of it, and
what arrives there waits until it returns. So a fetch waits long only if it covers every partition; it has a connection
of its own, because a broker answers the requests of one connection in order; and a `seek` ends it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.consumer import consumer, fetcher
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from services.runtime.metric_definitions import FETCHES

# A fetch that does not cover every partition waits this long at most.
SHORT_POLL_MS = 50
# How long a fetch waits at rest. A broker that dies closes the connection, which ends the fetch at once.
LONG_POLL_MS = 5_000
# aiokafka numbers the connections to a broker by what they are for.
_FETCH_GROUP = len(ConnectionGroup)


class FetchConnections:
    """aiokafka's client with connections of their own for fetches."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: int, request: Any) -> Any:
        """Send a request and return its response. Raises KafkaError."""
        if not isinstance(request, FetchRequest):
            return await self._client.send(node_id, request)
        FETCHES.inc()
        try:
            return await self._client.send(node_id, request, group=_FETCH_GROUP)
        except asyncio.CancelledError:
            # The broker would answer the next fetch on this connection only after the one that was given up.
            connection = self._client._conns.pop((node_id, _FETCH_GROUP), None)
            if connection is not None:
                connection.close()
            raise


class LongPollFetcher(fetcher.Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher, which waits for the consumer's `fetch_max_wait_ms` only where that delays nothing."""

    def __init__(self, client: Any, subscriptions: Any, **options: Any) -> None:
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
        super().seek_to(tp, offset)

    def _get_actions_per_node(self, assignment: Any) -> Any:
        if self._in_flight and not self._pending_tasks:
            # aiokafka notes the end of a fetch in the next turn of the event loop, and sends none before: look again then.
            return [], {}, 0, False, []
        is_partial = self._records or any(assignment.state_value(tp).paused for tp in assignment.tps)
        self._fetch_max_wait_ms = min(SHORT_POLL_MS, self._long_poll_ms) if is_partial else self._long_poll_ms
        return super()._get_actions_per_node(assignment)

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> Any:
        poll = asyncio.current_task()
        assert poll is not None
        self._polls.add(poll)
        try:
            return await super()._proc_fetch_request(assignment, node_id, request)
        finally:
            self._polls.discard(poll)


def install() -> None:
    """Make aiokafka's consumers of this process use this fetcher."""
    consumer.Fetcher = LongPollFetcher
