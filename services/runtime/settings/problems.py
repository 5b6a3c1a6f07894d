"""Messages about settings that are not valid: path, problem and, for an unknown name, the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from services.contract.user_errors import EXIT_USAGE, BraidError

SECRET_WORDS = ("secret", "password", "token")
CORRECT = "Correct braid.yaml, .env or the BRAID_… variables, then run `braid config check`."
SHOWN_PROBLEMS_MAX = 3
SHOWN_VALUE_CHARS = 60
TABLE = "must be a table (lines of `name: value`)"
PLAIN = {
    "model_type": TABLE,
    "model_attributes_type": TABLE,
    "dict_type": TABLE,
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be a text",
}


class SettingsError(BraidError):
    """Settings that are not valid; `problems` has one line for each."""

    exit_code = EXIT_USAGE

    def __init__(self, what: str, why: str = "", do: str = CORRECT, problems: Sequence[str] = ()) -> None:
        super().__init__(what, why, do)
        self.problems = tuple(problems) or (f"{what} {why}".strip(),)


def settings_error(problems: Sequence[str]) -> SettingsError:
    """Return one error for several problems; it shows the first ones."""
    more = len(problems) - SHOWN_PROBLEMS_MAX
    why = "; ".join(problems[:SHOWN_PROBLEMS_MAX]) + (f"; and {more} more" if more > 0 else "")
    what = "A setting is not valid." if len(problems) == 1 else f"{len(problems)} settings are not valid."
    return SettingsError(what, why, problems=problems)


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line for each setting that pydantic rejects; values of secrets are not shown."""
    lines: dict[str, list[str]] = {}
    for details in error.errors():
        path = [str(part) for part in details["loc"]]
        if _is_union(_type_at(model, path[:-1])):
            path.pop()  # The last part names a member of the union: each of them has an error of its own.
        # A check of a whole table names the setting itself.
        of_table = details["type"] == "value_error" and isinstance(details["input"], Mapping)
        lines.setdefault("" if of_table else ".".join(path), []).append(_message(model, path, dict(details)))
    whole = lines.pop("", [])
    return [f"{path}: {' or '.join(messages)}" for path, messages in lines.items()] + whole


def suggestion(name: str, known: Collection[str]) -> str:
    """Return a hint for an unknown name: the nearest known one, else all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"


def _message(model: type[BaseModel], path: Sequence[str], details: Mapping[str, Any]) -> str:
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        return f"no such setting; {suggestion(path[-1], _names(_type_at(model, path[:-1])))}"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    text = PLAIN.get(kind) or details["msg"].replace("Input should be", "must be").replace("Input should", "must")
    return text + _shown(".".join(path), value)


def _shown(path: str, value: Any) -> str:
    if any(word in path for word in SECRET_WORDS):
        return ""
    if value is None:
        return " (found nothing)"
    if isinstance(value, Mapping):
        return " (found a table)"
    if isinstance(value, list | tuple):
        return " (found a list)"
    text = repr(value)
    return f" (found {text if len(text) <= SHOWN_VALUE_CHARS else text[:SHOWN_VALUE_CHARS] + '…'})"


def _type_at(model: Any, path: Sequence[str]) -> Any:
    """Return the type of the setting at a path, None for an unknown one."""
    for part in path:
        if get_origin(model) is dict:
            model = get_args(model)[1]  # The part is a name that the user chose.
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[part].annotation
        else:
            return None
    return model


def _names(model: Any) -> list[str]:
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)
