"""Listening sockets, loopback addresses, and the URL and token of the live page."""

from __future__ import annotations

import ipaddress
import secrets
import socket

from services.runtime.settings import GatewaySettings


def bind_listener(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes any free one.

    A service binds before it starts anything else, so that a port in use is a message and not a traceback.

    Raises:
        OSError: The address is not available.
    """
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
    """Return True for an address that other machines cannot reach."""
    return host == "localhost" or _is(host, "is_loopback")


def access_token(settings: GatewaySettings) -> str:
    """Return the token that requests must carry.

    It is the one of the settings, else a new one if other machines can reach the gateway, else empty: no token.
    """
    return settings.token.get_secret_value() or ("" if is_loopback(settings.host) else secrets.token_urlsafe(24))


def page_url(host: str, port: int, token: str) -> str:
    """Return the URL of the live page for a person on this machine."""
    reachable = "127.0.0.1" if _is(host, "is_unspecified") else f"[{host}]" if ":" in host else host
    return f"http://{reachable}:{port}/" + (f"?token={token}" if token else "")


def _is(host: str, kind: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), kind))
    except ValueError:
        return False
