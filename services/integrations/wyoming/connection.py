"""One satellite's connection: what it says is taken, and passed on to a speech-to-text service where there is one."""

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
from services.integrations.wyoming.protocol import LINE_BYTES_MAX, LengthLimits, ProtocolError, error, read, write
from services.runtime.clock import monotonic_us
from services.runtime.tasks import run_until_first_ends

CONNECT_WITHIN_S = 10
# Sound may come faster than it was made (a file, what was kept back for a wake word): so far ahead, then it waits.
AHEAD_US = 1_000_000

Take = Callable[[MediaRecord], Awaitable[None]]


class SatelliteConnection:
    """Both directions of one connection; forward: host and port of the service behind, None for none."""

    def __init__(
        self, hearing: SatelliteDecoder, lengths: LengthLimits, take: Take, forward: tuple[str, int] | None
    ) -> None:
        self._hearing, self._lengths, self._take, self._forward = hearing, lengths, take, forward
        self._left: deque[MediaRecord] = deque()
        self._taking = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either side ends. Raises Refused (the satellite is told before) and ConnectionError."""
        try:
            async with self._behind() as behind:
                sides = [self._from_satellite(reader, behind[1] if behind else None, writer)]
                if behind is not None:
                    sides.append(self._from_behind(behind[0], writer))
                await run_until_first_ends(*sides)
        except ProtocolError as refused:
            await write(writer, error(refused))
            raise
        finally:
            self._left += self._hearing.flush()
            await self._take_all()

    @asynccontextmanager
    async def _behind(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]:
        if self._forward is None:
            yield None
            return
        host, port = self._forward
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                reader, writer = await asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)
        except OSError:
            raise ProtocolError("forward", f"the service behind, {host}:{port}, cannot be reached") from None
        try:
            yield reader, writer
        finally:
            writer.close()

    async def _from_satellite(
        self, reader: asyncio.StreamReader, behind: asyncio.StreamWriter | None, back: asyncio.StreamWriter
    ) -> None:
        began_us = monotonic_us()
        while (event := await read(reader, self._lengths)) is not None:
            self._hear(event, monotonic_us() - began_us)
            if behind is not None:
                await write(behind, event)
            elif (answer := answer_to(event)) is not None:
                await write(back, answer)
            await self._take_all()
            ahead_us = self._hearing.ends_us - time.time_ns() // 1000 - AHEAD_US
            if ahead_us > 0:
                await asyncio.sleep(ahead_us / 1e6)
            began_us = monotonic_us()

    async def _from_behind(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (event := await read(reader, self._lengths)) is not None:
            # Heard before it is passed on: a satellite that has its answer is gone, and ends this task.
            if Transcript.is_type(event.type):
                self._hear(event)
            await write(writer, event)
            await self._take_all()

    def _hear(self, event: Event, waited_us: int = 0) -> None:
        self._left += self._hearing.decode(event, time.time_ns() // 1000, waited_us)

    async def _take_all(self) -> None:
        """One that was being taken when the connection ended is taken again: a copy is recognised."""
        async with self._taking:
            while self._left:
                await self._take(self._left[0])
                self._left.popleft()


def answer_to(event: Event) -> Event | None:
    """What the bridge itself answers where no service is behind it: that it is there, and offers nothing."""
    if Describe.is_type(event.type):
        return Info().event()
    if Ping.is_type(event.type):
        return Pong(Ping.from_event(event).text).event()
    return None
