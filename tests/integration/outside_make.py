"""The environment as a person's shell has it, also where `make test` runs us."""

from __future__ import annotations

import os


def environment_outside_make() -> dict[str, str]:
    """Without what a make tells a make below it: its level and its variables (`make test ARGS=…`)."""
    return {n: v for n, v in os.environ.items() if not n.startswith("MAKE") and n not in ("MFLAGS", "ARGS")}
