"""The entry point of a process."""

from __future__ import annotations

import subprocess
import sys

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


RELEASE = """
import numpy, ssl, sqlite3
from services.runtime.process import release_library_pages

def kilobytes(name):
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

resident, own = kilobytes("Rss:"), kilobytes("Anonymous:")
release_library_pages()
print(resident - kilobytes("Rss:"), own - kilobytes("Anonymous:"))
assert numpy.linalg.solve([[2.0]], [4.0])[0] == 2.0
assert ssl.create_default_context().check_hostname
assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
"""


def test_pages_of_libraries_are_released_and_none_that_the_process_wrote() -> None:
    done = subprocess.run([sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True)
    released, own = map(int, done.stdout.split())
    assert released > 4_000
    assert own < 1_000
