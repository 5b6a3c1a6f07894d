"""The guard at the door: every request is judged, every answer carries the headers that keep a browser safe."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.access import COOKIE, Access, Refused, Request
from services.runtime.metrics import GatewayMetrics

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


class Guard:
    """ASGI middleware; a right `?token=` on the page becomes a cookie that scripts cannot read."""

    def __init__(self, app: ASGIApp, access: Access, metrics: GatewayMetrics) -> None:
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
            return _refusal(Refused(414, f"a query of more than {QUERY_BYTES_MAX} bytes"))
        try:
            request = _request(scope)
        except ValueError:
            return _refusal(Refused(400, f"a query of more than {QUERY_FIELDS_MAX} fields"))
        refused = self._access.judge(request)
        if refused is not None:
            return _refusal(refused)
        if scope["path"] == "/" and self._access.is_token(request.token):
            answer = RedirectResponse("./", status_code=303)
            answer.set_cookie(COOKIE, request.token, httponly=True, samesite="strict", path="/")
            return answer
        return None


def _request(scope: MutableMapping[str, Any]) -> Request:
    headers = Headers(scope=scope)
    query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=QUERY_FIELDS_MAX)
    return Request(
        method=scope["method"],
        host=headers.get("host", ""),
        origin=headers.get("origin", ""),
        fetch_site=headers.get("sec-fetch-site", ""),
        authorization=headers.get("authorization", ""),
        cookie=headers.get("cookie", ""),
        token=query.get("token", [""])[0],
    )


def _refusal(refused: Refused) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if refused.status == 401 else None
    return JSONResponse({"detail": refused.detail}, status_code=refused.status, headers=headers)
