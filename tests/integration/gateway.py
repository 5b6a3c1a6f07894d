"""A gateway as a process of its own, and a client to ask it."""

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


@dataclass(frozen=True)
class Answer:
    """Status, headers by lower-case name, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """Starts on a free port; `ask` answers any status."""

    def __init__(self, stack: LocalStack, number: int = 1, **environment: str) -> None:
        (self.port,) = free_ports(1)
        given = {"BRAID_GATEWAY__PORT": str(self.port), **environment}
        self.process = ServiceProcess("gateway", stack.folder, stack.environment() | given, number)
        self.url = f"http://127.0.0.1:{self.port}/"

    async def start(self) -> Gateway:
        self.process.start()
        await self.process.ready()
        return self

    async def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
        """One request; names of headers with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, named, method=method)
        return await asyncio.to_thread(_ask, request)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Redirects are answers, too."""


def _ask(request: urllib.request.Request) -> Answer:
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=30) as answer:
            return Answer(answer.status, _lower(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, _lower(error.headers), error.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
