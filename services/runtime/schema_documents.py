"""The contents of docs/schemas: JSON Schemas of records and settings, and the AsyncAPI document."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import yaml

from services.contract.asyncapi import document
from services.contract.output_events import schema_id
from services.contract.record_schemas import RECORDS
from services.contract.topics import Topics
from services.runtime.settings import ROOT, Settings

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def files() -> dict[str, str]:
    """Return the content of each file by its name."""
    contents = {
        f"{name}.schema.json": _json(
            {"$schema": DRAFT, "$id": schema_id(name), "title": f"braid {name}", "description": text, **schema}
        )
        for name, (text, schema) in RECORDS.items()
    }
    contents["settings.schema.json"] = _json({"$schema": DRAFT, **settings()})
    contents["asyncapi.yaml"] = asyncapi(Topics())
    return contents


def asyncapi(topics: Topics) -> str:
    """Return the AsyncAPI document of an installation's topics, as YAML."""
    # Through JSON, because YAML would replace repeated objects by anchors.
    plain = json.loads(json.dumps(document(topics, version("braid"))))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)


def settings() -> dict[str, Any]:
    """Return the JSON Schema of the settings, with paths relative to the root of the installation."""
    schema: dict[str, Any] = _portable(Settings.model_json_schema())
    return schema


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _portable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_portable(inner) for inner in value]
    if isinstance(value, str) and value.startswith(f"{ROOT}/"):
        return value.removeprefix(f"{ROOT}/")
    return value


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
