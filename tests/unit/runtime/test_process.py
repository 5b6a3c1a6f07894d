"""The entry point of a process."""

from __future__ import annotations

import pytest

from services.contract.user_errors import BraidError
from services.runtime.process import run_main
from services.runtime.settings import SettingsError, load


def test_process_ends_with_the_code_that_main_returns() -> None:
    with pytest.raises(SystemExit) as exit:
        run_main(lambda: 3)
    assert exit.value.code == 3


@pytest.mark.parametrize(("error", "code"), [(BraidError("What.", "Why.", "Do."), 1), (SettingsError("What.", "Why.", "Do."), 2)])  # fmt: skip
def test_error_for_people_is_three_lines_on_stderr(
    error: BraidError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> int:
        raise error

    with pytest.raises(SystemExit) as exit:
        run_main(main)
    assert exit.value.code == code
    assert capsys.readouterr().err == "braid: What.\nWhy.\nDo.\n"


def test_missing_broker_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(SettingsError, match="BRAID_KAFKA__BOOTSTRAP_SERVERS"):
        load(kafka={"bootstrap_servers": ""}).require_broker()
    load(kafka={"bootstrap_servers": "a:1"}).require_broker()
