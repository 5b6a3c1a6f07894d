"""The record by which an owner of a partition number tells its settings, in the frontier topic beside the frontiers.

Whoever finds windows of other settings can so close them under the very settings that opened them.
"""

from __future__ import annotations

from services.contract import canonical
from services.contract.semantics import Semantics, semantics_of

_PREFIX = b"\0settings\0"


def key(config: str) -> bytes:
    """One key for each settings; no session has it, since a session's key begins with its name."""
    return _PREFIX + config.encode()


def is_key(raw: bytes) -> bool:
    """True for the key of such a record."""
    return raw.startswith(_PREFIX)


def encode(semantics: Semantics) -> bytes:
    """The canonical bytes."""
    return canonical.dumps({"config": semantics.config, "semantics": semantics.as_json()})


def read(raw: bytes) -> Semantics | None:
    """The settings, None for what cannot be read or is of another contract."""
    try:
        told = canonical.loads_object(raw)
        found = semantics_of(told["semantics"])
    except (canonical.NotJson, KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if found.config == told["config"] else None
