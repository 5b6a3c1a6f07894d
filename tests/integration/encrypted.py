"""TLS in front of a server that speaks none itself, as people put it before a Redis (the packaged one is built without)."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path


class TlsProxy:
    """Takes TLS on a free port, and hands the bytes on to a port of this machine."""

    def __init__(self, certificate: Path, key: Path, behind: int) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._behind = behind

    async def start(self) -> int:
        """The port that it answers on."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", self._behind)
        await asyncio.gather(_pipe(reader, outer), _pipe(inner, writer), return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    finally:
        writer.close()
