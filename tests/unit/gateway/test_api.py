"""The documentation of the HTTP API against its routes."""

from __future__ import annotations

import re
from typing import Any, cast

from starlette.routing import Route

from services.contract.alignment_config import AlignmentConfig
from services.gateway.api import Api
from services.gateway.ingest import IngestHandler
from services.gateway.labels import LabelHandler
from services.runtime.settings import ROOT

NONE = cast(Any, None)


def test_the_documentation_lists_exactly_the_routes_of_the_api() -> None:
    ingest, labels = (
        IngestHandler(NONE, NONE, AlignmentConfig(), 0, NONE, NONE, NONE, NONE, NONE),
        LabelHandler(NONE, NONE, NONE, NONE, 0, 0, NONE),
    )
    routes = Api(NONE, NONE, NONE, NONE, NONE, ingest, labels, NONE, NONE, 0, NONE, NONE, NONE).routes()
    served = {
        (method, re.sub(r"/\{.*", "", route.path))
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    page = (ROOT / "docs" / "gateway.md").read_text()
    documented = re.findall(r"^\| `(GET|POST) ((?:api/v1/)?[a-z.]+)", page, re.MULTILINE)
    assert {(method, f"/{path}") for method, path in documented} == served
