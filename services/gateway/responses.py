"""How the API answers: JSON, or why not."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from services.contract import canonical


def json_response(value: object, status: int = 200) -> Response:
    """An answer."""
    return Response(canonical.dumps(value), status, media_type="application/json")


def error_response(status: int, detail: str, reason: str | None = None) -> Response:
    """A refusal: a sentence, and a reason of the contract where there is one."""
    return JSONResponse({"detail": detail} | ({"reason": reason} if reason else {}), status)
