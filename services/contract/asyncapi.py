"""The topics as an AsyncAPI 3 document. Source: asyncapi.com, specification 3.0.0, and its Kafka bindings 0.5.0."""

from __future__ import annotations

from typing import Any

from services.contract import cloudevents
from services.contract.dead_letter import CUT_HEADER, REASON_HEADER, RECORD_PREFIX
from services.contract.output_events import ALIGNER_SOURCE, FUSION_SOURCE, OutputKind, event_type, schema_id
from services.contract.prediction import LATENCY_HEADER, STATE_HEADER, TRACE_HEADER
from services.contract.record_schemas import RECORDS, TEXT, Schema
from services.contract.signature import MAC_HEADER
from services.contract.tick import TICK_SOURCE, TICK_TYPE
from services.contract.topics import Topic, Topics

BINDING = "0.5.0"
# The services that publish each kind of output.
OUTPUT_SOURCES: dict[OutputKind, list[str]] = {
    "window": [ALIGNER_SOURCE],
    "late": [ALIGNER_SOURCE],
    "prediction": [FUSION_SOURCE],
    "event": [FUSION_SOURCE],
    "dead": [ALIGNER_SOURCE, FUSION_SOURCE],
}
CONTENT_TYPES = {
    "text": ["text/plain", "application/json"],
    "video": ["image/jpeg", "image/png", "image/webp"],
    "audio": ["audio/pcm", "audio/wav", "audio/flac", "audio/ogg"],
}


def document(topics: Topics, version: str) -> Schema:
    """Return the document; the topics are those that `braid topics apply` creates."""
    record_names = {
        topics.windows: "window",
        topics.frontier: "frontier",
        topics.predictions: "prediction",
        topics.events: "event",
        topics.control: "control",
        topics.late: "late",
        topics.dead: "dead",
    }
    channels: Schema = {}
    operations: Schema = {}
    messages: Schema = {name: _message(name) for name in RECORDS}
    for topic in topics.definitions():
        if topic.name in topics.media_all:
            modality = topics.modality_of(topic.name)
            key, carried = f"media_{modality}", [f"media_{modality}", "alive", "end", "tick", "reset"]
            messages[f"media_{modality}"] = _media(modality)
            operations[f"take_{modality}"] = _operation("receive", key, carried[:3], f"Devices send {modality}.")
        elif topic.name in record_names:
            key = record_names[topic.name]
            carried = [key, "generation_start"] if topic.name == topics.control else [key]
            operations[f"say_{key}"] = _operation("send", key, carried, f"Braid publishes: {topic.description}.")
        else:
            continue
        channels[key] = _channel(topic, carried)
    messages["alive"] = _control(cloudevents.ALIVE_TYPE, "A source is alive and has no media; the value is empty.")
    messages["end"] = _control(cloudevents.SESSION_END_TYPE, "A source stops for good; the value is empty.")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Braid",
            "version": version,
            "description": "Text, video and audio in, explained predictions and events out. Keys are sessions; "
            "clients of librdkafka must set partitioner=murmur2_random.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "the broker of docker compose"}
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": {name: schema for name, (_, schema) in RECORDS.items()}},
    }


def _channel(topic: Topic, carried: list[str]) -> Schema:
    config: dict[str, Any] = {}
    for name, value in topic.config:
        if name == "cleanup.policy":
            config[name] = value.split(",")
        elif name in ("retention.ms", "max.message.bytes"):
            config[name] = int(value)
    kafka = {
        "topic": topic.name,
        "partitions": topic.partitions,
        "topicConfiguration": config,
        "bindingVersion": BINDING,
    }
    return {
        "address": topic.name,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in carried},
        "bindings": {"kafka": kafka},
    }


def _operation(action: str, channel: str, carried: list[str], text: str) -> Schema:
    here = f"#/channels/{channel}"
    return {
        "action": action,
        "channel": {"$ref": here},
        "summary": text,
        "messages": [{"$ref": f"{here}/messages/{name}"} for name in carried],
    }


def _message(name: str) -> Schema:
    headers: Schema = {
        "prediction": {
            LATENCY_HEADER: {**TEXT, "description": "JSON: latency by stage, in ms"},
            STATE_HEADER: {**TEXT, "description": "JSON: the event state; final predictions only"},
            TRACE_HEADER: {**TEXT, "description": "the trace of its window (W3C), if tracing is on"},
        },
        "dead": {
            REASON_HEADER: {**TEXT, "description": "the reason's code; the record's own headers follow"},
            f"{RECORD_PREFIX}ce_source": {**TEXT, "description": "the record's own; so are its other attributes"},
            CUT_HEADER: {**TEXT, "description": "JSON: original sizes, if the key or headers were cut to limits"},
        },
        "tick": {
            "ce_specversion": {"const": cloudevents.SPECVERSION},
            "ce_type": {"const": TICK_TYPE},
            "ce_source": {"const": TICK_SOURCE},
            "ce_id": {**TEXT, "description": "hash of the content: equal ticks are one event"},
        },
    }.get(name, {})
    headers[MAC_HEADER] = {**TEXT, "description": "HMAC-SHA256 in hex, by which services know each other's records"}
    message: Schema = {"name": name, "summary": RECORDS[name][0], "payload": {"$ref": f"#/components/schemas/{name}"}}
    output = next((kind for kind in OUTPUT_SOURCES if kind == name), None)
    message["headers"] = _output_attributes(output, headers) if output else {"type": "object", "properties": headers}
    if name in ("window", "prediction", "event", "late"):
        message["bindings"] = _keyed()
    return message


def _output_attributes(kind: OutputKind, further: Schema) -> Schema:
    attributes: Schema = {
        "ce_specversion": {"const": cloudevents.SPECVERSION},
        "ce_id": {**TEXT, "description": "the same if the record is published again"},
        "ce_source": {"enum": OUTPUT_SOURCES[kind]},
        "ce_type": {"const": event_type(kind)},
        "ce_dataschema": {"const": schema_id(kind)},
        "ce_subject": {**TEXT, "description": "the session, as the key"},
        "ce_time": {**TEXT, "format": "date-time", "description": "event time: the start of what it is about"},
        "content-type": {"const": "application/json"},
    }
    optional = ("ce_subject", "ce_time") if kind == "dead" else ()
    required = [name for name in attributes if name not in optional]
    return {"type": "object", "required": required, "properties": {**attributes, **further}}


def _media(modality: str) -> Schema:
    kinds = CONTENT_TYPES.get(modality, ["application/json"])
    return {
        "name": f"media_{modality}",
        "summary": f"One chunk of {modality}: a CloudEvent in Kafka's binary mode.",
        "contentType": kinds[0],
        "headers": _attributes(cloudevents.media_type(modality), content_types=kinds),
        "payload": {"type": "string", "format": "binary", "minLength": 1},
        "bindings": _keyed(),
    }


def _control(type: str, text: str) -> Schema:
    return {
        "name": type,
        "summary": text,
        "headers": _attributes(type),
        "payload": {"type": "string", "maxLength": 0},
        "bindings": _keyed(),
    }


def _attributes(type: str, content_types: list[str] | None = None) -> Schema:
    properties: Schema = {
        "ce_specversion": {"const": cloudevents.SPECVERSION},
        "ce_id": {**TEXT, "minLength": 1},
        "ce_source": {**TEXT, "minLength": 1, "description": "/devices/<device>/<stream>"},
        "ce_type": {"const": type},
        "ce_time": {**TEXT, "format": "date-time", "description": "capture time"},
        "ce_subject": {**TEXT, "description": "the session, as the key"},
    }
    required = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"]
    if content_types is not None:
        properties["content-type"] = {**TEXT, "examples": content_types}
        required.append("content-type")
    return {"type": "object", "required": required, "properties": properties}


def _keyed() -> Schema:
    return {"kafka": {"key": {"type": "string", "description": "the session"}, "bindingVersion": BINDING}}
