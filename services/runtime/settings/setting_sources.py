"""Where settings come from: environment, `.env` and `braid.yaml`; former names of settings are still accepted."""

from __future__ import annotations

import difflib
import functools
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic_settings
import yaml
from pydantic import BaseModel
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, YamlConfigSettingsSource

from services.runtime.settings.problems import SettingsError, settings_error, suggestion

CONFIG_FILE = "braid.yaml"
ENV_FILE = ".env"
PREFIX = "BRAID_"
NESTING = "__"
# How like a variable must be to a setting to be taken for a slip: one or two letters.
NEAR = 0.87
# Former name of a setting (`*` stands for any name) to its name of today. An entry goes with the release after next.
RENAMED = {
    "alignment.modalities.*.patience_ms": "idle_timeout_ms",
    "gateway.hosts": "allowed_hosts",
    "gateway.kept_mb": "history_mb",
    "gateway.kept_s": "history_s",
    "kafka.tick_secret": "signing_secrets",
    "keep_events": "archive",
    "mqtt.pictures": "images",
    "mqtt.unencrypted": "allow_unencrypted",
    "wyoming.unencrypted": "allow_unencrypted",
}
_log = logging.getLogger(__name__)


def with_current_names(values: Mapping[str, Any], origin: str | None, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return settings with former names replaced by those of today; where both stand, the former one is ignored.

    Args:
        values: Tables of settings.
        origin: Where they stand, for the warning; None for no warning.
        path: Names of the tables around them.
    """
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        current = _current_name((*path, str(name)))
        if current != str(name):
            if origin is not None:
                warn_of_former_name(origin, ".".join((*path, str(name))), ".".join((*path, current)))
            if current in values:
                continue
        inner = (*path, current)
        renamed[current] = with_current_names(value, origin, inner) if isinstance(value, Mapping) else value
    return renamed


@functools.cache
def warn_of_former_name(origin: str, former: str, current: str) -> None:
    """Warn once for each former name that is in use."""
    _log.warning("%s: %s is now called %s; the former name works for this release only", origin, former, current)


class Environment(EnvSettingsSource):
    """Settings in variables `BRAID_SECTION__NAME` of the process."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings)
        self.env_vars = _own_variables(settings, self.env_vars, "environment")

    def __call__(self) -> dict[str, Any]:
        """Return the settings that are set here, as nested tables."""
        return _decoded(super().__call__, "environment")


class EnvFile(DotEnvSettingsSource):
    """Settings in the same variables in the file `.env`; its other variables are ignored."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        try:
            # Editors on Windows begin a file with a byte order mark, which would be part of the first name.
            super().__init__(settings, env_file=ENV_FILE, env_file_encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{ENV_FILE} cannot be read.", str(error)) from None
        self.env_vars = _own_variables(settings, self.env_vars, ENV_FILE)

    def __call__(self) -> dict[str, Any]:
        """Return the settings that are set here, as nested tables."""
        return _decoded(super().__call__, ENV_FILE)


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a table in which a key stands twice: YAML takes the last one and drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the table. Raises ConstructorError."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                problem = f"{key.value} stands here again; it stands in line {lines[key.value]} already"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


class ConfigFile(YamlConfigSettingsSource):
    """Settings in `braid.yaml`."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings, yaml_file=CONFIG_FILE)

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        path = Path(file_path)
        try:
            values = _UniqueKeyLoader(path.read_text(encoding="utf-8")).get_single_data()
        except yaml.MarkedYAMLError as error:
            raise _syntax_error(path, error) from None
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} cannot be read.", str(error)) from None
        if not isinstance(values, dict | None):
            raise SettingsError(
                f"{path} is not a table of settings.",
                f"Its top level is a {'list' if isinstance(values, list) else 'single value'}.",
                "Write sections with indented `name: value` lines; `braid config show --explain` prints an example.",
            )
        return with_current_names(values or {}, str(path))


def _syntax_error(path: Path, error: yaml.MarkedYAMLError) -> SettingsError:
    mark = error.problem_mark or error.context_mark
    where = f"Line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if "'\\t'" in (error.problem or ""):
        return SettingsError(
            f"{path} is not valid YAML.",
            f"{where}YAML does not allow tabs for indentation.",
            "Indent with spaces, then run `braid config check`.",
        )
    return SettingsError(
        f"{path} is not valid YAML.",
        f"{where}{error.problem or error.context}.",
        "Correct that line, then run `braid config check`.",
    )


def _own_variables(
    settings: type[BaseSettings], variables: Mapping[str, str | None], origin: str
) -> dict[str, str | None]:
    """Return the variables that are settings, under the names of today.

    Raises:
        SettingsError: A variable has the form of a setting and names no section, or is nearly the name of a setting.
            Another one without `__` may belong to something else (a tool, or Kubernetes, which sets
            `BRAID_GATEWAY_SERVICE_PORT` and `BRAID_GATEWAY_PORT=tcp://…` for a service of that name).
    """
    own: dict[str, str | None] = {}
    former: dict[str, str | None] = {}
    unknown: list[str] = []
    sections = set(settings.model_fields)
    for variable, value in variables.items():
        if not variable.startswith(PREFIX.lower()):
            continue
        path = variable[len(PREFIX) :].split(NESTING)
        current = [_current_name(tuple(path[: depth + 1])) for depth in range(len(path))]
        if current[0] not in sections:
            if len(path) > 1:
                unknown.append(f"{variable.upper()}: no section {path[0]}; {suggestion(path[0], sections)}")
            elif near := _near_setting(settings, path[0], value or ""):
                unknown.append(f"{variable.upper()}: no such setting; did you mean {near}?")
        elif current == path:
            own[variable] = value
        else:
            name = PREFIX.lower() + NESTING.join(current)
            warn_of_former_name(origin, variable.upper(), name.upper())
            former[name] = value
    if unknown:
        raise settings_error(unknown)
    return former | own


def _near_setting(settings: type[BaseSettings], name: str, value: str) -> str:
    """Return the variable that is meant by a name with single underscores or a slip, empty if there is none."""
    known = {section: section for section in settings.model_fields}
    for section, field in settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            known |= {f"{section}_{inner}": f"{section}{NESTING}{inner}" for inner in field.annotation.model_fields}
    near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
    return (PREFIX + known[near[0]]).upper() if near and not value.startswith(("tcp://", "udp://")) else ""


def _decoded(read: Any, origin: str) -> dict[str, Any]:
    try:
        return with_current_names(read(), origin)
    except pydantic_settings.SettingsError as error:
        section = re.search(r'field "(\w+)"', str(error))
        variable = f"{PREFIX}{section[1].upper()}" if section else PREFIX
        raise SettingsError(
            f"A variable {variable}… in the {origin} is not valid JSON.",
            f"{error.__cause__}." if error.__cause__ else "",
            "Lists and tables in variables are JSON, as BRAID_GATEWAY__ALLOWED_HOSTS='[\"braid.local\"]'.",
        ) from None


def _current_name(path: tuple[str, ...]) -> str:
    """Return the name of today of the last part of a path."""
    for former, current in RENAMED.items():
        parts = former.split(".")
        if len(parts) == len(path) and all(part in ("*", name) for part, name in zip(parts, path, strict=True)):
            return current
    return path[-1]
