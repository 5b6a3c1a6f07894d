"""Connections of the web server: how many there may be, and how long one may take for a request or a response."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from services.runtime.metric_definitions import GatewayMetrics

# How long the headers of a request may take, and how long a client may leave a response unread.
HEADERS_WITHIN_S, READ_WITHIN_S = 10.0, 30.0
_REFUSAL_BODY = b'{"detail":"too many connections: try again later"}'
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_REFUSAL_BODY), _REFUSAL_BODY)
)


class ConnectionLimits:
    """The open connections, and limits of their number in all and per client address.

    At a limit a new connection takes the place of the oldest one that has no request in progress: half a request, or
    none, is worth less than a new one. A new connection is refused if all others are in use.
    """

    def __init__(self, total_max: int, per_address_max: int, metrics: GatewayMetrics) -> None:
        self._total_max, self._per_address_max = total_max, per_address_max
        self._closed = metrics.connections_closed
        # Connections by address in order of arrival; dicts, because sets have no order.
        self._by_address: dict[str, dict[GatewayConnection, None]] = {}
        self._total = 0

    def admit(self, connection: GatewayConnection) -> bool:
        """Add a connection, at a limit in the place of another one; return False if it must be refused."""
        own = self._by_address.setdefault(connection.address, {})
        is_admitted = (len(own) < self._per_address_max or self._displace([own])) and (
            self._total < self._total_max
            # The address with the most connections gives one up.
            or self._displace(sorted(self._by_address.values(), key=len, reverse=True))
        )
        if is_admitted:
            self._by_address.setdefault(connection.address, {})[connection] = None
            self._total += 1
        else:
            self._closed.labels("refused").inc()
            if not own:
                self._by_address.pop(connection.address, None)
        return is_admitted

    def remove(self, connection: GatewayConnection) -> None:
        """Remove a connection that is closed; one that was removed before is ignored."""
        own = self._by_address.get(connection.address, {})
        if connection in own:
            del own[connection]
            self._total -= 1
            if not own:
                del self._by_address[connection.address]

    def close(self, connection: GatewayConnection, reason: str) -> None:
        """Close a connection and count why; its place is free at once."""
        self._closed.labels(reason).inc()
        self.remove(connection)
        connection.transport.abort()

    def _displace(self, groups: list[dict[GatewayConnection, None]]) -> bool:
        for group in groups:
            for connection in group:
                if connection.is_waiting:
                    self.close(connection, "displaced")
                    return True
        return False


def client_address(peer: Any) -> str:
    """Return the address that counts as one client: of IPv6 the network of 64 bits, of which a host has all addresses."""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except (TypeError, IndexError, ValueError):
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


class GatewayConnection(H11Protocol):
    """A connection with a time limit for headers and for unread responses; h11 limits the size of headers to 16 KiB."""

    limits: ConnectionLimits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address = ""
        self._headers_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """True if no request is in progress: none has come whole, or the last one is answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or refuse the connection."""
        super().connection_made(transport)
        self.address = client_address(transport.get_extra_info("peername"))
        if self.limits.admit(self):
            self._expect_headers()
        else:
            transport.write(REFUSAL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        self.limits.remove(self)
        for timer in (self._headers_timer, self._read_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle data; each part of headers counts against the time since the first one."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.is_waiting:
            self._expect_headers()
        elif self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def pause_writing(self) -> None:
        """Start to wait for a client that does not read."""
        super().pause_writing()
        self._read_timer = self.loop.call_later(READ_WITHIN_S, self.limits.close, self, "unread")

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _expect_headers(self) -> None:
        if self._headers_timer is None:
            self._headers_timer = self.loop.call_later(HEADERS_WITHIN_S, self._on_headers_missing)

    def _on_headers_missing(self) -> None:
        self._headers_timer = None
        if self.is_waiting:
            self.limits.close(self, "headers")


def connection_class(limits: ConnectionLimits) -> type[GatewayConnection]:
    """Return the protocol class for uvicorn, which makes its instances itself."""
    return type("LimitedConnection", (GatewayConnection,), {"limits": limits})
