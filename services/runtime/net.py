"""A listening socket, bound before anything else starts, so that a port that is taken is a message and no trace.

Where people open the live page, and the token that goes with it.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket

from services.runtime.settings import GatewaySettings


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises OSError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def is_loopback(host: str) -> bool:
    """True for an address that other machines cannot reach."""
    return host == "localhost" or _is(host, "is_loopback")


def token_of(settings: GatewaySettings) -> str:
    """The token that is asked for: the one set; a new one where other machines can reach us; else none."""
    return settings.token.get_secret_value() or ("" if is_loopback(settings.host) else secrets.token_urlsafe(24))


def address(host: str, port: int, token: str) -> str:
    """What a person on this machine opens."""
    shown = "127.0.0.1" if _is(host, "is_unspecified") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def _is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False
