"""An outage of the broker: services wait for it at the start and survive its restart."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from services.contract import cloudevents
from services.inspection.audit.collect import collect_topic
from services.kafka import clients, topic_admin
from services.local.kafka import LocalKafka
from services.local.redis import LocalRedis
from services.local.services import ServiceProcess
from services.runtime.settings import load
from tests.waiting import wait_until


async def test_an_aligner_waits_for_its_broker_and_survives_an_outage(tmp_path: Path) -> None:
    broker, redis = LocalKafka(tmp_path), LocalRedis(tmp_path)
    await redis.start()
    kafka = {"bootstrap_servers": broker.bootstrap_servers, "signing_file": tmp_path / "signing.json"}
    settings = load(kafka=kafka, topics={"partitions": 1})
    topics, servers = settings.topic_names(), broker.bootstrap_servers
    environment = {
        "BRAID_KAFKA__BOOTSTRAP_SERVERS": servers,
        "BRAID_REDIS__URL": redis.url,
        "BRAID_TOPICS__PARTITIONS": "1",
    }
    aligner = ServiceProcess("aligner", tmp_path, environment)

    async def send_text(text: str) -> None:
        headers = cloudevents.build_headers(
            session="s",
            source="/devices/phone/text",
            id=text,
            type=cloudevents.media_type("text"),
            t_us=int(time.time() * 1e6),
            content_type="text/plain",
        )
        async with clients.producer(servers) as producer:
            await producer.send_and_wait(topics.media("text"), text.encode(), key=b"s", headers=headers)

    async def has_window(text: str) -> bool | None:
        async with clients.reader(servers) as reader:
            windows = await collect_topic(reader, topics.windows, 1)
        return any(f'"id":"{text}"'.encode() in (raw.value or b"") for raw in windows) or None

    async def is_waiting() -> bool | None:
        return "broker" in await asyncio.to_thread(aligner.not_ready) or None

    try:
        aligner.start()
        await wait_until(is_waiting, "the aligner to say that it waits for the broker")
        await broker.start()
        async with clients.admin(servers) as admin:
            await topic_admin.create_missing_topics(admin, settings)
        await aligner.wait_until_ready()
        await send_text("before")
        await wait_until(lambda: has_window("before"), "a window")

        broker.child.kill()
        await broker.start()
        assert aligner.child.running
        assert broker.child.log.read_text().count("Kafka Server started") == 2, "the broker writes a log"
        await send_text("after")
        await wait_until(lambda: has_window("after"), "a window after the outage")
        assert await aligner.child.stop() == 0
    finally:
        aligner.child.kill()
        redis.child.kill()
        broker.child.kill()
