"""Access to the gateway: which names, tokens and origins are accepted, and the ASGI middleware that enforces it."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.runtime.metric_definitions import GatewayMetrics

COOKIE = "braid_token"
# What the page asks for itself. Its own files may be linked from anywhere.
DATA_PATHS = ("/api/", "/asyncapi.yaml")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
QUERY_BYTES_MAX, QUERY_FIELDS_MAX = 4_096, 100
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """The headers that decide, "" for each that is missing; `token` is the one in the query."""

    method: str
    host: str = ""
    path: str = "/"
    origin: str = ""
    fetch_site: str = ""
    authorization: str = ""
    cookie: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Denial:
    """An HTTP status and a sentence."""

    status: int
    detail: str


class AccessPolicy:
    """Decides which requests are answered.

    Args:
        token: The access token; "" asks for none.
        names: Host names that are accepted besides those of loopback.
    """

    def __init__(self, token: str, names: Iterable[str]) -> None:
        self._token, self._names = token, {*LOOPBACK, *(name.lower() for name in names)}

    def denial_of(self, request: RequestHeaders) -> Denial | None:
        """Return why a request is denied, None if it is allowed."""
        if not self._is_known_host(request.host):
            # A foreign name that resolves to this host is DNS rebinding: another site's script would count as ours.
            return Denial(421, "this name is not one of the gateway's: see gateway.allowed_hosts")
        is_read = request.method in ("GET", "HEAD")
        if not _is_same_origin(request) and not (is_read and not request.path.startswith(DATA_PATHS)):
            # Another site's script cannot read the response, but it could make requests in the name of its visitor.
            return Denial(403, f"another site's page may not {'read' if is_read else 'send'} this")
        if self._token and not any(self._matches(token) for token in _tokens_of(request)):
            return Denial(401, "a token is needed: open the address that the gateway printed, or send it as a bearer")
        return None

    def is_token(self, text: str) -> bool:
        """Return whether a token is asked for and this is the one."""
        return bool(self._token) and self._matches(text)

    def _is_known_host(self, host_header: str) -> bool:
        host = host_name(host_header)
        if self._token:
            # With a token any IP address will do: DNS rebinding needs a name.
            try:
                ipaddress.ip_address(host)
                return True
            except ValueError:
                pass
        return host in self._names

    def _matches(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


class AuthMiddleware:
    """ASGI middleware that applies an access policy and adds security headers to every response.

    A valid `?token=` on the page becomes a cookie that scripts cannot read.
    """

    def __init__(self, app: ASGIApp, policy: AccessPolicy, metrics: GatewayMetrics) -> None:
        self._app, self._policy, self._requests = app, policy, metrics.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on to the app."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(str(message["status"])).inc()
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._response(scope) or self._app)(scope, receive, send_secured)

    def _response(self, scope: Scope) -> ASGIApp | None:
        """Return the response to send instead of the app's, None if the request may go on."""
        if len(scope["query_string"]) > QUERY_BYTES_MAX:
            return _denied(Denial(414, f"a query of more than {QUERY_BYTES_MAX} bytes"))
        try:
            request = _headers_of(scope)
        except ValueError:
            return _denied(Denial(400, f"a query of more than {QUERY_FIELDS_MAX} fields"))
        denial = self._policy.denial_of(request)
        if denial is not None:
            return _denied(denial)
        if scope["path"] == "/" and self._policy.is_token(request.token):
            redirect = RedirectResponse("./", status_code=303)
            redirect.set_cookie(COOKIE, request.token, httponly=True, samesite="strict", path="/")
            return redirect
        return None


def host_name(host_header: str) -> str:
    """Return the name in a Host header in lower case, without port and brackets."""
    text = host_header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def _is_same_origin(request: RequestHeaders) -> bool:
    if request.fetch_site and request.fetch_site not in ("same-origin", "none"):
        return False
    return not request.origin or request.origin.partition("://")[2].lower() == request.host.lower()


def _tokens_of(request: RequestHeaders) -> Iterable[str]:
    scheme, _, credentials = request.authorization.partition(" ")
    if scheme.lower() == "bearer":
        yield credentials.strip()
    try:
        cookie = SimpleCookie(request.cookie).get(COOKIE)
    except CookieError:
        cookie = None
    if cookie is not None:
        yield cookie.value
    if request.token:
        yield request.token


def _headers_of(scope: MutableMapping[str, Any]) -> RequestHeaders:
    headers = Headers(scope=scope)
    query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=QUERY_FIELDS_MAX)
    return RequestHeaders(
        method=scope["method"],
        host=headers.get("host", ""),
        path=scope["path"],
        origin=headers.get("origin", ""),
        fetch_site=headers.get("sec-fetch-site", ""),
        authorization=headers.get("authorization", ""),
        cookie=headers.get("cookie", ""),
        token=query.get("token", [""])[0],
    )


def _denied(denial: Denial) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if denial.status == 401 else None
    return JSONResponse({"detail": denial.detail}, status_code=denial.status, headers=headers)
