"""The environment of a person's shell, also inside `make test`."""

from __future__ import annotations

import os


def environment_outside_make() -> dict[str, str]:
    """Return the environment without the variables that make passes on to a nested make, such as ARGS."""
    return {n: v for n, v in os.environ.items() if not n.startswith("MAKE") and n not in ("MFLAGS", "ARGS")}
