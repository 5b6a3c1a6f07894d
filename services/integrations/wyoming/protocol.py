"""Wyoming events on a connection, within limits; the package's own reader accepts any length.

Source: the package `wyoming`, event.py: a line of JSON, then `data_length` bytes of JSON, then `payload_length` bytes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from wyoming.error import Error
from wyoming.event import Event, async_write_event

from services.contract import canonical


class ProtocolError(Exception):
    """Input of a satellite that breaks the protocol or a limit; the message never quotes it.

    `code` is a short word for metrics and for the satellite.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


LINE_BYTES_MAX = 65_536
EVENT_WITHIN_S = 30


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """The most bytes of JSON and of payload in one event."""

    data_bytes_max: int
    payload_bytes_max: int


async def read_event(reader: asyncio.StreamReader, lengths: LengthLimits) -> Event | None:
    """Return the next event, None if the connection ended between two events.

    A satellite may be silent for hours, but an event that has begun must be complete within EVENT_WITHIN_S.

    Raises:
        ProtocolError: The event breaks the protocol or a limit.
    """
    first = await reader.read(1)
    if not first:
        return None
    try:
        async with asyncio.timeout(EVENT_WITHIN_S):
            return await _read(first, reader, lengths)
    except TimeoutError:
        raise ProtocolError("slow", f"an event was not complete within {EVENT_WITHIN_S} s") from None
    except asyncio.LimitOverrunError:
        raise ProtocolError("line", f"a line of more than {LINE_BYTES_MAX} bytes") from None
    except asyncio.IncompleteReadError:
        raise ProtocolError("cut", "the connection ended within an event") from None
    except canonical.InvalidJson as error:
        raise ProtocolError("json", f"not an event of Wyoming: {error}") from None


async def _read(first: bytes, reader: asyncio.StreamReader, lengths: LengthLimits) -> Event:
    line = first if first == b"\n" else first + await reader.readuntil(b"\n")
    head = canonical.loads_object(line)
    data_length = _length(head, "data_length", lengths.data_bytes_max)
    payload_length = _length(head, "payload_length", lengths.payload_bytes_max)
    kind, data = head.get("type"), head.get("data", {})
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise ProtocolError("json", "an event has a type, and data that is an object")
    if data_length:
        data = data | canonical.loads_object(await reader.readexactly(data_length))
    payload = await reader.readexactly(payload_length) if payload_length else None
    return Event(kind, data, payload)


def _length(head: dict[str, Any], name: str, bytes_max: int) -> int:
    length = head.get(name) or 0
    if type(length) is not int or length < 0:
        raise ProtocolError("json", f"{name} is not a whole number")
    if length > bytes_max:
        raise ProtocolError("length", f"{name} is {length}, at most {bytes_max} bytes are read")
    return length


async def write_event(writer: asyncio.StreamWriter, event: Event) -> None:
    """Send an event. Raises ProtocolError if the other side does not read, ConnectionError if it is gone."""
    try:
        async with asyncio.timeout(EVENT_WITHIN_S):
            await async_write_event(event, writer)
    except TimeoutError:
        raise ProtocolError("slow", f"what was sent was not read within {EVENT_WITHIN_S} s") from None


def error_event(error: ProtocolError) -> Event:
    """Return an error as a Wyoming event."""
    return Error(str(error), error.code).event()
