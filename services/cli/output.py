"""How verbs answer: one JSON object, or lines for people; failures with what, why and what to do."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, NoReturn

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]


def result(value: Any) -> None:
    """The JSON answer of a verb."""
    print(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False))


def fail(text: str, code: int = 1) -> NoReturn:
    """Say why not, on stderr, and end."""
    print(f"braid: {text}", file=sys.stderr)
    sys.exit(code)


def no_broker() -> NoReturn:
    """No broker is named and this verb starts none."""
    fail(
        "no broker is named. `braid up` starts a local one and prints the variables to set; or set "
        "BRAID_KAFKA__BOOTSTRAP_SERVERS and BRAID_REDIS__URL to your own",
        2,
    )
