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
    topics: MqttTopics,
    session: str,
    labels: Sequence[str],
    sources: Collection[tuple[str, str]],
    image_type: str | None,
    modalities: Sequence[str],
    expire_s: int,
    version: str,
) -> dict[str, Any]:
    """Return the discovery message of a session.

    Args:
        topics: The MQTT topics of the bridge.
        session: The session.
        labels: All labels that an event may have.
        sources: Modality and source of each device stream.
        image_type: Content type of the session's frames, None before the first one.
        modalities: The modalities that can be muted.
        expire_s: The state of a source becomes unavailable if it is not repeated for so long.
        version: Braid's version.
    """
    unique = topics.unique(session)

    def entity(platform: str, key: str, name: str, **more: Any) -> dict[str, Any]:
        own = f"{unique}_{key}"
        return {
            "platform": platform,
            "unique_id": own,
            "default_entity_id": f"{platform}.{own}",
            "name": name,
            **more,
        }

    prediction = topics.for_session(session, "prediction")
    components = {
        "event": entity(
            "event",
            "event",
            "Event",
            state_topic=topics.for_session(session, "event"),
            event_types=list(labels),
            icon="mdi:eye",
        ),
        "label": entity("sensor", "label", "Label", state_topic=prediction, value_template="{{ value_json.label }}"),
        "confidence": entity(
            "sensor",
            "confidence",
            "Confidence",
            state_topic=prediction,
            value_template="{{ (value_json.confidence * 100) | round(1) }}",
            unit_of_measurement="%",
            state_class="measurement",
        ),
    }
    if image_type is not None:
        image = {"image_topic": topics.for_session(session, "image"), "content_type": image_type}
        components["image"] = entity("image", "image", "Last event", **image)
    for modality in modalities:
        key, topic = f"mute_{slug(modality)}", topics.mute(session, modality)
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
            state_topic=topics.source(session, modality, source),
            payload_on=ON,
            payload_off=OFF,
            json_attributes_topic=topics.clock(session, modality, source),
            device_class="connectivity",
            entity_category="diagnostic",
            expire_after=expire_s,
        )
    return {
        "device": {"identifiers": [unique], "name": session, "manufacturer": "Braid", "model": "session"},
        "origin": {"name": "Braid", "sw_version": version},
        "availability": [{"topic": topics.available, "payload_available": ONLINE, "payload_not_available": OFFLINE}],
        "qos": 1,
        "components": components,
    }
