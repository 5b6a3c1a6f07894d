"""The parts of an AsyncAPI 3.0.0 document that ours has, as a JSON Schema: what may and what must stand in each.

Written from the specification (asyncapi.com/docs/reference/specification/v3.0.0): no Python package carries the official
schema.
"""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
REF: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["$ref"],
    "properties": {"$ref": {"type": "string", "pattern": "^#/"}},
}


def only(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def by_key(value: Any) -> dict[str, Any]:
    return {"type": "object", "propertyNames": {"pattern": r"^[A-Za-z0-9._-]+$"}, "additionalProperties": value}


SCHEMA: dict[str, Any] = {"type": "object"}
MESSAGE = only(
    ["payload"],
    name=TEXT,
    title=TEXT,
    summary=TEXT,
    description=TEXT,
    contentType=TEXT,
    headers=SCHEMA,
    payload=SCHEMA,
    bindings=only([], kafka=only([], key=SCHEMA, bindingVersion=TEXT)),
)
TOPIC = {
    "type": "object",
    "additionalProperties": True,
    "properties": {
        "cleanup.policy": {"type": "array", "items": {"enum": ["compact", "delete"]}},
        "retention.ms": {"type": "integer", "minimum": -1},
        "max.message.bytes": {"type": "integer", "minimum": 0},
    },
}
CHANNEL = only(
    ["address", "messages"],
    address=TEXT,
    description=TEXT,
    messages=by_key(REF),
    bindings=only(
        [],
        kafka=only(
            [],
            topic=TEXT,
            partitions={"type": "integer", "exclusiveMinimum": 0},
            topicConfiguration=TOPIC,
            bindingVersion=TEXT,
        ),
    ),
)
OPERATION = only(
    ["action", "channel"],
    action={"enum": ["send", "receive"]},
    channel=REF,
    summary=TEXT,
    messages={"type": "array", "items": REF, "minItems": 1},
)
DOCUMENT = only(
    ["asyncapi", "info"],
    asyncapi={"const": "3.0.0"},
    info=only(
        ["title", "version"], title=TEXT, version=TEXT, description=TEXT, license=only(["name"], name=TEXT, url=TEXT)
    ),
    defaultContentType={"type": "string", "pattern": "^[a-z]+/[a-z+.-]+$"},
    servers=by_key(only(["host", "protocol"], host=TEXT, protocol={"const": "kafka"}, description=TEXT)),
    channels=by_key(CHANNEL),
    operations=by_key(OPERATION),
    components=only([], messages=by_key(MESSAGE), schemas=by_key(SCHEMA)),
)
