"""Every record of every output topic, read by the official CloudEvents SDK."""

from __future__ import annotations

import json
from collections import defaultdict

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from services.contract import cloudevents
from services.contract.kafka_record import KafkaRecord
from services.inspection.audit.collect import collect_topic
from services.kafka import clients
from services.local.services import ServiceProcess
from services.runtime.schema_documents import files
from services.runtime.settings import Settings
from tests.integration.session import TEXT, play_session, wait_for_predictions
from tests.waiting import wait_until

SESSION = "read as CloudEvents"


def late_text(t_us: int) -> tuple[bytes, str, bytes | None, list[tuple[str, bytes]]]:
    headers = cloudevents.build_headers(
        session=SESSION,
        source="/devices/late/text",
        id="1",
        type=cloudevents.media_type("text"),
        t_us=t_us - 60_000_000,
        content_type=TEXT,
    )
    return SESSION.encode(), "text", b"seven", headers


def invalid_text(t_us: int) -> tuple[bytes, str, bytes | None, list[tuple[str, bytes]]]:
    key, modality, _, headers = late_text(t_us)
    return key, modality, b"seven \xff", [*headers, ("x-binary", b"\xff")]


def read(record: KafkaRecord) -> BaseCloudEvent:
    names = [name for name, _ in record.headers]
    assert len(set(names)) == len(names)
    message = {name: raw for name, raw in record.headers if raw is not None}
    return from_kafka_event(KafkaMessage(message, record.key, record.value or b""))


async def test_the_sdk_reads_every_output_record(
    settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    topics = settings.topic_names()
    kinds = {
        topics.windows: "window",
        topics.predictions: "prediction",
        topics.events: "event",
        topics.late: "late",
        topics.dead: "dead",
    }
    await play_session(settings, SESSION, hand, invalid_text)
    await wait_for_predictions(settings, SESSION)
    # Late, because the windows of the session are out.
    await play_session(settings, SESSION, hand, late_text)

    async def outputs() -> dict[str, list[KafkaRecord]] | None:
        found: dict[str, list[KafkaRecord]] = defaultdict(list)
        async with clients.reader(settings.kafka) as reader:
            for topic, kind in kinds.items():
                records = await collect_topic(reader, topic, settings.topics.partitions)
                found[kind] = [record for record in records if record.key == SESSION.encode()]
        return found if all(found[kind] for kind in kinds.values()) else None

    seen: set[tuple[str, str]] = set()
    for kind, records in (await wait_until(outputs, "records of each output topic")).items():
        schema_id = json.loads(files()[f"{kind}.schema.json"])["$id"]
        for record in records:
            event = read(record)
            assert (event.get_type(), event.get_dataschema()) == (f"braid.{kind}.v1", schema_id)
            assert event.get_subject() == SESSION
            assert event.get_data() == json.loads(record.value or b"")
            assert event.get_time() is not None
            identity = event.get_source(), f"{kind} {event.get_id()}"
            assert identity not in seen
            seen.add(identity)
