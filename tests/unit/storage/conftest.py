"""A photo of a hand from the data sets."""

from __future__ import annotations

import pytest

from model.data.shards import find_file, list_files
from services.runtime.settings import ROOT


@pytest.fixture(scope="session")
def hand() -> bytes:
    return find_file(list_files(ROOT / "data" / "tridigit" / "hand")[0]).read_bytes()
