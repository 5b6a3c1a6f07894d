"""Ports on loopback."""

from __future__ import annotations

import random
import socket

# Below the ports that the system takes for outgoing connections: a client that tries to reach a server that was killed
# could otherwise get the server's own port as its local one, connect to itself and keep the server from starting again.
PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return different ports that are free now. Raises OSError if there are not enough."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            return found
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    raise OSError(f"there are no {count} free ports from {PORTS.start} to {PORTS.stop - 1}")


def is_listening(port: int) -> bool:
    """Return True if something accepts connections at this port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
