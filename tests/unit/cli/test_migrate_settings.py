"""`braid migrate-settings` and its former name."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from services.cli.main import app


@pytest.mark.parametrize(("verb", "warned"), [("migrate-settings", False), ("drain", True)])
def test_former_verb_works_with_a_warning(
    verb: str, warned: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.chdir(str(tmp_path))
    result = CliRunner().invoke(app, [verb])
    assert result.exit_code == 2, "no broker is configured"
    assert ("`braid drain` is now called `braid migrate-settings`" in result.stderr) is warned


def test_former_verb_is_not_listed() -> None:
    listed = CliRunner().invoke(app, ["--help"]).stdout
    assert "migrate-settings" in listed
    assert "drain" not in listed
