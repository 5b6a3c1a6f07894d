"""JSON responses of the API."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from services.contract import canonical


def json_response(value: object, status: int = 200) -> Response:
    """Return a value as canonical JSON."""
    return Response(canonical.dumps(value), status, media_type="application/json")


def error_response(
    status: int, detail: str, reason: str | None = None, *, retry_after_s: int | None = None
) -> Response:
    """Return an error: a sentence, a reason if there is one, and when to try again if that helps."""
    headers = None if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return JSONResponse({"detail": detail} | ({"reason": reason} if reason else {}), status, headers)
