"""A gateway process and an HTTP client for it."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.local.ports import free_ports
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from tests.waiting import DEADLINE_S


@dataclass(frozen=True)
class Response:
    """A response; the names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """A gateway on a free port. Requests return any status, also errors and redirects."""

    def __init__(self, stack: LocalStack, number: int = 1, **environment: str) -> None:
        (self.port,) = free_ports(1)
        settings = {"BRAID_GATEWAY__PORT": str(self.port), **environment}
        self.process = ServiceProcess("gateway", stack.folder, stack.environment() | settings, number)
        self.url = f"http://127.0.0.1:{self.port}/"

    async def start(self) -> Gateway:
        self.process.start()
        await self.process.wait_until_ready()
        return self

    async def request(
        self, path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> Response:
        """Send a request; names of headers have _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, named, method=method)
        return await asyncio.to_thread(_send, request)

    async def read_events(self, query: str, count: int, last_id: str = "") -> list[dict[str, str]]:
        """Return the fields of the first messages of the event stream."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        resume = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        writer.write(f"GET /api/v1/events?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n{resume}\r\n".encode())
        events: list[dict[str, str]] = [{}]
        try:
            async with asyncio.timeout(DEADLINE_S):
                while len([one for one in events if "event" in one and "data" in one]) < count:
                    line = (await reader.readline()).decode().strip()
                    name, colon, value = line.partition(": ")
                    if not line and events[-1]:
                        events.append({})
                    elif colon and name in ("id", "event", "data"):
                        events[-1][name] = value
        finally:
            writer.close()
        return [one for one in events if "event" in one]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Do not follow redirects."""


def _send(request: urllib.request.Request) -> Response:
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=DEADLINE_S) as response:
            return Response(response.status, _lower(response.headers), response.read())
    except urllib.error.HTTPError as error:
        return Response(error.code, _lower(error.headers), error.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
