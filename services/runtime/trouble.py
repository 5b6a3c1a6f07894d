"""What is wrong with a setting, in one line for people. Pure."""

from __future__ import annotations

import difflib
from typing import Any, get_args, get_origin

from pydantic import BaseModel

# A value of a setting with such a name is not repeated: the message may end in a log.
UNSHOWN = ("secret", "password", "token")


def line(settings: type[BaseModel], trouble: dict[str, Any]) -> str:
    """Path, trouble and value of one of pydantic's errors; of an unknown key, the nearest known one."""
    path = [str(part) for part in trouble["loc"]]
    if trouble["type"] != "extra_forbidden":
        found = "" if any(word in ".".join(path) for word in UNSHOWN) else f" (found {trouble['input']!r})"
        return f"{'.'.join(path)}: {trouble['msg']}{found}"
    known = _keys(settings, path[:-1])
    near = difflib.get_close_matches(path[-1], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
    return f"{'.'.join(path)}: no such setting; {hint}"


def _keys(model: Any, path: list[str]) -> list[str]:
    for part in path:
        if get_origin(model) is dict:
            # The part is a name of the user's own; what follows is known by the values' type.
            model = get_args(model)[1]
            continue
        field = model.model_fields.get(part)
        model = field.annotation if field is not None else None
        if get_origin(model) is dict:
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)
