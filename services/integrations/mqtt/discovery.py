"""A session as a device of Home Assistant: the discovery message of all its entities. Pure.

Source: home-assistant.io/integrations/mqtt, "Device discovery payload", and the pages event.mqtt, image.mqtt,
sensor.mqtt, binary_sensor.mqtt and switch.mqtt.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from services.integrations.mqtt.topics import MqttTopics, slug

ON, OFF, ONLINE, OFFLINE = "ON", "OFF", "online", "offline"


def device(
    names: MqttTopics,
    session: str,
    labels: Sequence[str],
    sources: Collection[tuple[str, str]],
    picture_type: str | None,
    modalities: Sequence[str],
    expire_s: int,
    version: str,
) -> dict[str, Any]:
    """The discovery message; sources: (modality, source). picture_type: of the session's pictures, None for none yet.
    modalities: those that can be muted.

    expire_s: a source's state that is not said again for so long is unavailable.
    """
    unique = names.unique(session)

    def entity(platform: str, key: str, name: str, **more: Any) -> dict[str, Any]:
        own = f"{unique}_{key}"
        return {
            "platform": platform,
            "unique_id": own,
            "default_entity_id": f"{platform}.{own}",
            "name": name,
            **more,
        }

    said = names.for_session(session, "prediction")
    components = {
        "event": entity(
            "event",
            "event",
            "Event",
            state_topic=names.for_session(session, "event"),
            event_types=list(labels),
            icon="mdi:eye",
        ),
        "label": entity("sensor", "label", "Label", state_topic=said, value_template="{{ value_json.label }}"),
        "confidence": entity(
            "sensor",
            "confidence",
            "Confidence",
            state_topic=said,
            value_template="{{ (value_json.confidence * 100) | round(1) }}",
            unit_of_measurement="%",
            state_class="measurement",
        ),
    }
    if picture_type is not None:
        image = {"image_topic": names.for_session(session, "image"), "content_type": picture_type}
        components["image"] = entity("image", "image", "Last event", **image)
    for modality in modalities:
        key, topic = f"mute_{slug(modality)}", names.mute(session, modality)
        components[key] = entity(
            "switch",
            key,
            f"Mute {modality}",
            state_topic=topic,
            command_topic=f"{topic}/set",
            payload_on=ON,
            payload_off=OFF,
            entity_category="config",
            icon="mdi:eye-off",
        )
    for modality, source in sorted(sources):
        key = f"source_{slug(f'{modality} {source}')}"
        components[key] = entity(
            "binary_sensor",
            key,
            f"{modality} {source.rpartition('/devices/')[2]}",
            state_topic=names.source(session, modality, source),
            payload_on=ON,
            payload_off=OFF,
            device_class="connectivity",
            entity_category="diagnostic",
            expire_after=expire_s,
        )
    return {
        "device": {"identifiers": [unique], "name": session, "manufacturer": "Braid", "model": "session"},
        "origin": {"name": "Braid", "sw_version": version},
        "availability": [{"topic": names.available, "payload_available": ONLINE, "payload_not_available": OFFLINE}],
        "qos": 1,
        "components": components,
    }
