"""The settings of the Kubernetes deployment, as a pod reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.runtime.settings import Settings, load
from tests.unit.deploy.manifests import SETTINGS


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """As a pod reads them."""
    (tmp_path / "braid.yaml").write_text(SETTINGS.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return load()
