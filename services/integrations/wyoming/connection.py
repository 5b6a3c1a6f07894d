"""The connection of one satellite: its events become records, and go on to a speech-to-text service if there is one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from wyoming.asr import Transcript
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from services.integrations.wyoming.audio_events import MediaRecord, SatelliteDecoder
from services.integrations.wyoming.protocol import (
    LINE_BYTES_MAX,
    LengthLimits,
    ProtocolError,
    error_event,
    read_event,
    write_event,
)
from services.runtime.monotonic_clock import monotonic_us
from services.runtime.process import run_until_first_ends

CONNECT_WITHIN_S = 10
# Audio may come faster than in real time (a file, audio from before a wake word): it may be so far ahead, then it waits.
AHEAD_US = 1_000_000

Publish = Callable[[MediaRecord], Awaitable[None]]


class SatelliteConnection:
    """Both directions of one connection.

    Args:
        decoder: Decodes the satellite's events.
        limits: Limits of the length of events.
        publish: Sends a record to its topic.
        forward: Host and port of the speech-to-text service, None if there is none.
    """

    def __init__(
        self, decoder: SatelliteDecoder, limits: LengthLimits, publish: Publish, forward: tuple[str, int] | None
    ) -> None:
        self._decoder, self._limits, self._publish, self._forward = decoder, limits, publish, forward
        self._pending: deque[MediaRecord] = deque()
        self._publishing = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve until either side ends.

        Raises:
            ProtocolError: The satellite broke the protocol; it has received the error.
            ConnectionError: A connection broke.
        """
        try:
            async with self._service() as service:
                directions = [self._from_satellite(reader, service[1] if service else None, writer)]
                if service is not None:
                    directions.append(self._from_service(service[0], writer))
                await run_until_first_ends(*directions)
        except ProtocolError as error:
            await write_event(writer, error_event(error))
            raise
        finally:
            self._pending += self._decoder.flush()
            await self._publish_pending()

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]:
        if self._forward is None:
            yield None
            return
        host, port = self._forward
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)
        except OSError:
            raise ProtocolError("forward", f"the speech-to-text service {host}:{port} cannot be reached") from None
        try:
            yield reader, writer
        finally:
            writer.close()

    async def _from_satellite(
        self, reader: asyncio.StreamReader, service: asyncio.StreamWriter | None, satellite: asyncio.StreamWriter
    ) -> None:
        idle_since_us = monotonic_us()
        while (event := await read_event(reader, self._limits)) is not None:
            self._decode(event, monotonic_us() - idle_since_us)
            if service is not None:
                await write_event(service, event)
            elif (response := response_to(event)) is not None:
                await write_event(satellite, response)
            await self._publish_pending()
            ahead_us = self._decoder.ends_us - time.time_ns() // 1000 - AHEAD_US
            if ahead_us > 0:
                await asyncio.sleep(ahead_us / 1e6)
            idle_since_us = monotonic_us()

    async def _from_service(self, reader: asyncio.StreamReader, satellite: asyncio.StreamWriter) -> None:
        while (event := await read_event(reader, self._limits)) is not None:
            # Decoded first: a satellite that has its transcript disconnects, which ends this task.
            if Transcript.is_type(event.type):
                self._decode(event)
            await write_event(satellite, event)
            await self._publish_pending()

    def _decode(self, event: Event, waited_us: int = 0) -> None:
        self._pending += self._decoder.decode(event, time.time_ns() // 1000, waited_us)

    async def _publish_pending(self) -> None:
        # A record that was being sent when the connection ended is sent again; alignment recognises the duplicate.
        async with self._publishing:
            while self._pending:
                await self._publish(self._pending[0])
                self._pending.popleft()


def response_to(event: Event) -> Event | None:
    """Return the bridge's own response if there is no service: it is there, and offers nothing."""
    if Describe.is_type(event.type):
        return Info().event()
    if Ping.is_type(event.type):
        return Pong(Ping.from_event(event).text).event()
    return None
