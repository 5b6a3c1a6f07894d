"""Who may ask: the names by which the gateway may be called, the token, and where a browser's request came from. Pure.

The guard at the door: every request is judged, every answer carries the headers that keep a browser safe.
"""

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

from services.runtime.metrics import GatewayMetrics

COOKIE = "braid_token"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def name_of(host_header: str) -> str:
    """The name in a Host header without its port, in lower case and without brackets."""
    text = host_header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """The headers that decide, "" for each that is missing; token: as it stands in the query."""

    method: str
    host: str = ""
    origin: str = ""
    fetch_site: str = ""
    authorization: str = ""
    cookie: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Denial:
    """A status code and a sentence."""

    status: int
    detail: str


class AccessPolicy:
    """token "" asks for none; names: by which the gateway may be called besides those of loopback."""

    def __init__(self, token: str, names: Iterable[str]) -> None:
        self._token, self._names = token, {*LOOPBACK, *(name.lower() for name in names)}

    def denial_of(self, request: RequestHeaders) -> Denial | None:
        """Why a request is refused, None where it is not."""
        if not self._called_by_a_name(request.host):
            # A foreign name that leads here is DNS rebinding: another site's script would read as if it were ours.
            return Denial(421, "this name is not one of the gateway's: see gateway.allowed_hosts")
        if request.method not in ("GET", "HEAD") and not _from_here(request):
            return Denial(403, "another site's page may not send")
        if self._token and not any(self._right(given) for given in _given(request)):
            return Denial(401, "a token is needed: open the address that the gateway printed, or send it as a bearer")
        return None

    def is_token(self, given: str) -> bool:
        """True for the token where one is asked for."""
        return bool(self._token) and self._right(given)

    def _called_by_a_name(self, host: str) -> bool:
        name = name_of(host)
        if self._token:
            # Whoever knows the token may call by address; a name must still be known.
            try:
                ipaddress.ip_address(name)
                return True
            except ValueError:
                pass
        return name in self._names

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _from_here(request: RequestHeaders) -> bool:
    if request.fetch_site and request.fetch_site not in ("same-origin", "none"):
        return False
    return not request.origin or request.origin.partition("://")[2].lower() == request.host.lower()


def _given(request: RequestHeaders) -> Iterable[str]:
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


PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
QUERY_BYTES_MAX = 4_096
QUERY_FIELDS_MAX = 100


class AuthMiddleware:
    """ASGI middleware; a right `?token=` on the page becomes a cookie that scripts cannot read."""

    def __init__(self, app: ASGIApp, access: AccessPolicy, metrics: GatewayMetrics) -> None:
        self._app, self._access, self._requests = app, access, metrics.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(str(message["status"])).inc()
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, guarded)

    def _answer(self, scope: Scope) -> ASGIApp | None:
        """What is said in the app's place, None where the request may go on."""
        if len(scope["query_string"]) > QUERY_BYTES_MAX:
            return _refusal(Denial(414, f"a query of more than {QUERY_BYTES_MAX} bytes"))
        try:
            request = _request(scope)
        except ValueError:
            return _refusal(Denial(400, f"a query of more than {QUERY_FIELDS_MAX} fields"))
        refused = self._access.denial_of(request)
        if refused is not None:
            return _refusal(refused)
        if scope["path"] == "/" and self._access.is_token(request.token):
            answer = RedirectResponse("./", status_code=303)
            answer.set_cookie(COOKIE, request.token, httponly=True, samesite="strict", path="/")
            return answer
        return None


def _request(scope: MutableMapping[str, Any]) -> RequestHeaders:
    headers = Headers(scope=scope)
    query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=QUERY_FIELDS_MAX)
    return RequestHeaders(
        method=scope["method"],
        host=headers.get("host", ""),
        origin=headers.get("origin", ""),
        fetch_site=headers.get("sec-fetch-site", ""),
        authorization=headers.get("authorization", ""),
        cookie=headers.get("cookie", ""),
        token=query.get("token", [""])[0],
    )


def _refusal(refused: Denial) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if refused.status == 401 else None
    return JSONResponse({"detail": refused.detail}, status_code=refused.status, headers=headers)
