"""A JSON Schema of what Home Assistant documents for MQTT device discovery: its known and required keys.

Source: home-assistant.io/integrations/mqtt (sections "Device discovery payload", "Using availability topics", "Adding
information about the origin of a discovery message") and the configuration variables of event.mqtt, image.mqtt,
sensor.mqtt, binary_sensor.mqtt and switch.mqtt, 2026.10; `object_id` was replaced by `default_entity_id` there in 2025.10.
"""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
FLAG: dict[str, Any] = {"type": "boolean"}
TOPIC: dict[str, Any] = {"type": "string", "pattern": r"^[^+#\x00]{1,65535}$"}
QOS: dict[str, Any] = {"enum": [0, 1, 2]}

AVAILABILITY: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["topic"],
        "properties": {
            "topic": TOPIC,
            "payload_available": TEXT,
            "payload_not_available": TEXT,
            "value_template": TEXT,
        },
    },
}
DEVICE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "anyOf": [{"required": ["identifiers"]}, {"required": ["connections"]}],
    "properties": {
        "identifiers": {"type": ["string", "array"], "minItems": 1, "items": TEXT},
        "connections": {"type": "array"},
        **dict.fromkeys(
            (
                "configuration_url",
                "hw_version",
                "manufacturer",
                "model",
                "model_id",
                "name",
                "serial_number",
                "suggested_area",
                "sw_version",
                "via_device",
            ),
            TEXT,
        ),
    },
}
ORIGIN: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {"name": TEXT, "sw_version": TEXT, "support_url": TEXT},
}
EVERY: dict[str, Any] = {
    "availability": AVAILABILITY,
    "availability_mode": {"enum": ["all", "any", "latest"]},
    "availability_template": TEXT,
    "availability_topic": TOPIC,
    "default_entity_id": TEXT,
    "enabled_by_default": FLAG,
    "encoding": {"type": "string"},
    "entity_category": {"enum": ["config", "diagnostic"]},
    "entity_picture": TEXT,
    "icon": {"type": "string", "pattern": "^mdi:"},
    "json_attributes_template": TEXT,
    "json_attributes_topic": TOPIC,
    "name": {"type": ["string", "null"]},
    "payload_available": TEXT,
    "payload_not_available": TEXT,
    "unique_id": {"type": "string", "pattern": "^[a-z0-9_-]{1,255}$"},
}


def _platform(name: str, required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    own = {
        "platform": {"const": name},
        "default_entity_id": {"type": "string", "pattern": rf"^{name}\.[a-z0-9_]+$"},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        # unique_id is optional in YAML and required in a device's discovery.
        "required": ["platform", "unique_id", *required],
        "properties": {**EVERY, **properties, **own},
    }


PLATFORMS: dict[str, Any] = {
    "event": _platform(
        "event",
        ["state_topic", "event_types"],
        {
            "state_topic": TOPIC,
            "event_types": {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True},
            "device_class": {"enum": ["button", "doorbell", "motion", None]},
            "qos": QOS,
            "value_template": TEXT,
        },
    ),
    "image": {
        **_platform(
            "image",
            [],
            {
                "content_type": {"type": "string", "pattern": "^image/"},
                "image_encoding": {"const": "b64"},
                "image_topic": TOPIC,
                "url_template": TEXT,
                "url_topic": TOPIC,
            },
        ),
        "oneOf": [{"required": ["image_topic"]}, {"required": ["url_topic"]}],
    },
    "sensor": _platform(
        "sensor",
        ["state_topic"],
        {
            "state_topic": TOPIC,
            "device_class": TEXT,
            "expire_after": {"type": "integer", "minimum": 0},
            "force_update": FLAG,
            "last_reset_value_template": TEXT,
            "options": {"type": "array", "items": TEXT},
            "qos": QOS,
            "state_class": {"enum": ["measurement", "measurement_angle", "total", "total_increasing"]},
            "suggested_display_precision": {"type": "integer", "minimum": 0},
            "unit_of_measurement": TEXT,
            "value_template": TEXT,
        },
    ),
    "switch": _platform(
        "switch",
        ["command_topic"],
        {
            "command_topic": TOPIC,
            "device_class": {"enum": ["outlet", "switch", None]},
            "optimistic": FLAG,
            "payload_off": TEXT,
            "payload_on": TEXT,
            "qos": QOS,
            "retain": FLAG,
            "state_off": TEXT,
            "state_on": TEXT,
            "state_topic": TOPIC,
            "value_template": TEXT,
        },
    ),
    "binary_sensor": _platform(
        "binary_sensor",
        ["state_topic"],
        {
            "state_topic": TOPIC,
            "device_class": {"enum": ["connectivity", "motion", "occupancy", "sound", "problem"]},
            "expire_after": {"type": "integer", "minimum": 1},
            "force_update": FLAG,
            "off_delay": {"type": "integer", "minimum": 1},
            "payload_off": TEXT,
            "payload_on": TEXT,
            "qos": QOS,
            "value_template": TEXT,
        },
    ),
}
CONFIG: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["device", "origin", "components"],
    "properties": {
        "device": DEVICE,
        "origin": ORIGIN,
        "availability": AVAILABILITY,
        "availability_mode": {"enum": ["all", "any", "latest"]},
        "command_topic": TOPIC,
        "encoding": {"type": "string"},
        "qos": QOS,
        "state_topic": TOPIC,
        "components": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-zA-Z0-9_-]+$"},
            "additionalProperties": {"oneOf": list(PLATFORMS.values())},
        },
    },
}
# An event's message: a JSON object with its event_type; whatever else is in it becomes attributes.
EVENT: dict[str, Any] = {"type": "object", "required": ["event_type"], "properties": {"event_type": TEXT}}
