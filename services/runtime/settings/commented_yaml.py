"""Settings as a `braid.yaml` in which a comment explains every key."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

WIDTH = 100


def explained(settings: BaseModel) -> str:
    """Return YAML that loads as the same settings; secrets that are set stand in it as comments without their value."""
    return "\n".join(_table(settings)) + "\n"


def _table(model: BaseModel, indent: str = "", comments: bool = True) -> Iterator[str]:
    values = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield ""
            yield from _comment(inspect.getdoc(type(value)) or "", indent)
            yield f"{indent}{name}:"
            yield from _table(value, indent + "  ")
            continue
        if not indent:
            yield ""
        if comments:
            yield from _comment(f"{field.description} ({_facts(field)})", indent)
        if _is_secret(value):
            yield f"{indent}# {name}: is set and not shown"
        elif isinstance(value, dict) and all(isinstance(inner, BaseModel) for inner in value.values()):
            yield from _tables(name, value, field, indent)
        else:
            yield from _key(name, values[name], indent)


def _tables(name: str, tables: dict[str, BaseModel], field: FieldInfo, indent: str) -> Iterator[str]:
    """Tables whose names the user chose; the keys of the first one are explained, or those of an example."""
    if tables:
        yield f"{indent}{name}:"
        for number, (key, table) in enumerate(tables.items()):
            yield f"{indent}  {_inline(key)}:"
            yield from _table(table, indent + "    ", comments=number == 0)
        return
    yield f"{indent}{name}: {{}}"
    of_entry = get_args(field.annotation)[1]
    if isinstance(of_entry, type) and issubclass(of_entry, BaseModel):
        yield f"{indent}#  example:"
        yield from (f"{indent}#    {line}" for line in _table(of_entry()))


def _key(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield f"{indent}{name}:"
        yield from (f"{indent}  {_inline(key)}: {_inline(inner)}" for key, inner in value.items())
    else:
        yield f"{indent}{name}: {_inline(value)}"


def _inline(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _facts(field: FieldInfo) -> str:
    """Return the default, the range and the choices of a setting."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, SecretStr) or default in (None, "", ()):
        facts = ["default: empty"]
    elif isinstance(default, dict):
        facts = [f"default: {', '.join(default) or 'none'}"]
    else:
        facts = [f"default: {str(default).lower() if isinstance(default, bool) else default}"]
    limits = {type(limit).__name__: limit for limit in field.metadata}
    if "Ge" in limits:
        facts.append(f"{limits['Ge'].ge} to {limits['Le'].le}" if "Le" in limits else f"at least {limits['Ge'].ge}")
    if get_origin(field.annotation) is Literal:
        facts.append(f"one of {', '.join(map(str, get_args(field.annotation)))}")
    return "; ".join(facts)


def _comment(text: str, indent: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from textwrap.wrap(
            " ".join(paragraph.split()), WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )


def _is_secret(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_secret, value))
    return isinstance(value, SecretStr) and bool(value.get_secret_value())
