"""A real photo."""

from __future__ import annotations

import pytest

from services.runtime.settings import ROOT


@pytest.fixture(scope="session")
def hand() -> bytes:
    return next(iter(sorted((ROOT / "data" / "tridigit" / "hand").glob("*.jpg")))).read_bytes()
