"""JSON responses of the API."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from services.contract import canonical


def json_response(value: object, status: int = 200) -> Response:
    """Return a value as canonical JSON."""
    return Response(canonical.dumps(value), status, media_type="application/json")


def error_response(status: int, detail: str, reason: str | None = None) -> Response:
    """Return an error: a sentence, and a reject reason of the contract if there is one."""
    return JSONResponse({"detail": detail} | ({"reason": reason} if reason else {}), status)
