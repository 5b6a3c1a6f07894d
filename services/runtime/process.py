"""The entry point of a process: an error that a person can act on ends it with a message instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from services.contract.errors import BraidError


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and exit with the code that it returns, or with that of the BraidError that it raises."""
    try:
        code = main()
    except BraidError as error:
        print(f"braid: {error}", file=sys.stderr)
        code = error.exit_code
    sys.exit(code)
