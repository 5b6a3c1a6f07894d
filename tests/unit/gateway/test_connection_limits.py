"""Limits of connections, on a real server: half requests never keep others out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.gateway import connection_limits
from services.gateway.connection_limits import ConnectionLimits, client_address, connection_class
from services.runtime.metric_definitions import GatewayMetrics
from services.runtime.net import bind_listener
from tests.waiting import wait_until

WHOLE = b"GET /%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: "
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """A server with few places, and its clients."""

    def __init__(self, port: int, release: asyncio.Event, registry: CollectorRegistry) -> None:
        self.port, self.release, self._registry = port, release, registry
        self._clients: list[asyncio.StreamWriter] = []

    async def connect(self, sent: bytes) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._clients.append(writer)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def status(self, path: bytes = b"") -> int:
        reader, _ = await self.connect(WHOLE % path)
        return int((await reader.readline()).split()[1])

    def closed(self, reason: str) -> float:
        return self._registry.get_sample_value("braid_gateway_connections_closed_total", {"reason": reason}) or 0.0

    async def close(self) -> None:
        for writer in self._clients:
            writer.close()


@asynccontextmanager
async def serving(total: int, per_address: int) -> AsyncIterator[Server]:
    release, registry = asyncio.Event(), CollectorRegistry()

    async def answer(request: Request) -> Response:
        if request.url.path == "/slow":
            await release.wait()
        return PlainTextResponse("x" * (50_000_000 if request.url.path == "/large" else 1))

    limits = ConnectionLimits(total, per_address, GatewayMetrics(registry))
    app = Starlette(routes=[Route("/{path:path}", answer)])
    config = uvicorn.Config(app, log_config=None, lifespan="off", http=connection_class(limits), ws="none")
    server = uvicorn.Server(config)
    with bind_listener("127.0.0.1", 0) as listener:
        listener.listen()
        task = asyncio.create_task(server.serve(sockets=[listener]))
        clients = Server(listener.getsockname()[1], release, registry)
        try:
            yield clients
        finally:
            release.set()
            await clients.close()
            server.should_exit = server.force_exit = True
            with suppress(SystemExit):
                await task


async def test_half_requests_do_not_keep_others_out() -> None:
    async with serving(total=8, per_address=8) as server:
        half = [await server.connect(HALF) for _ in range(20)]
        assert [await server.status() for _ in range(3)] == [200] * 3
        assert server.closed("displaced") >= 12
        reader, _ = half[0]
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_headers_that_do_not_come_in_time_close_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "HEADERS_WITHIN_S", 0.05)
    async with serving(total=8, per_address=8) as server:
        first, _ = await server.connect(HALF)
        second, writer = await server.connect(WHOLE % b"")
        assert (await second.readline()).startswith(b"HTTP/1.1 200")
        writer.write(HALF)
        for reader in (first, second):
            with suppress(ConnectionError):
                await reader.read()
        assert server.closed("headers") == 2


async def test_requests_in_progress_keep_their_places_and_further_ones_are_refused() -> None:
    async with serving(total=8, per_address=2) as server:
        slow = [await server.connect(WHOLE % b"slow") for _ in range(2)]
        refused, _ = await server.connect(b"")
        assert (await refused.read()).startswith(b"HTTP/1.1 503")
        server.release.set()
        assert [(await reader.readline()).split()[1] for reader, _ in slow] == [b"200"] * 2
        assert await server.status() == 200
        assert server.closed("refused") == 1


async def test_a_client_that_does_not_read_its_response_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "READ_WITHIN_S", 0.05)
    async with serving(total=8, per_address=8) as server:
        await server.connect(WHOLE % b"large")

        async def closed() -> bool | None:
            return server.closed("unread") == 1 or None

        await wait_until(closed, "the connection to be closed")


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    assert client_address(("2001:db8::1", 5, 0, 0)) == client_address(("2001:db8::ffff:2", 6, 0, 0))
    assert client_address(("2001:db8:0:1::1", 5, 0, 0)) != client_address(("2001:db8::1", 5, 0, 0))
    assert client_address(("::ffff:10.0.0.1", 5, 0, 0)) == client_address(("10.0.0.1", 5)) == "10.0.0.1"
    assert client_address(None) == client_address(("nonsense", 1)) == ""
