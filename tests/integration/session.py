"""Play a short session of real media through the broker, and read the results."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from services.contract import canonical, cloudevents
from services.inspection.audit.collect import collect_topic
from services.kafka import clients
from services.runtime.settings import KafkaSettings, Settings
from tests.waiting import wait_until

JPEG, PCM, TEXT = "image/jpeg", "audio/pcm;rate=8000", "text/plain"
# Makes an extra record (key, modality, value, headers) for an event time.
ExtraRecord = Callable[[int], tuple[bytes, str, bytes | None, list[tuple[str, bytes]]]]


async def play_session(
    settings: Settings,
    session: str,
    hand: bytes,
    extra_record: ExtraRecord | None = None,
    kafka: KafkaSettings | None = None,
) -> tuple[str, int, int] | None:
    """Send four seconds of text, video and audio, with an extra record in the middle; return the position of that one.

    kafka: connect with these instead of without any credentials.
    """
    topics, start_us = settings.topic_names(), (int(time.time()) - 5) * 1_000_000
    at = None
    async with clients.producer(kafka or settings.kafka.bootstrap_servers) as producer:
        for n in range(8):
            t_us = start_us + n * 500_000
            good = [("audio", PCM, bytes([n, 1]) * 4_000), ("video", JPEG, hand), ("text", TEXT, b"number %d" % n)]
            for modality, content_type, body in good:
                headers = cloudevents.build_headers(
                    session=session,
                    source=f"/devices/good/{modality}",
                    id=str(n),
                    type=cloudevents.media_type(modality),
                    t_us=t_us,
                    content_type=content_type,
                )
                await producer.send_and_wait(topics.media(modality), body, key=session.encode(), headers=headers)
            if extra_record is not None and n == 3:
                key, modality, value, headers = extra_record(t_us)
                done = await producer.send_and_wait(topics.media(modality), value, key=key, headers=headers)
                at = done.topic, done.partition, done.offset
        for modality in topics.modalities:
            for device in ("good", "bad"):
                headers = cloudevents.build_headers(
                    session=session,
                    source=f"/devices/{device}/{modality}",
                    id="end",
                    type=cloudevents.SESSION_END_TYPE,
                    t_us=start_us,
                    content_type=TEXT,
                )
                await producer.send_and_wait(topics.media(modality), b"", key=session.encode(), headers=headers)
    return at


async def read_topic(settings: Settings, topic: str) -> list[dict[str, Any]]:
    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        raws = await collect_topic(reader, topic, settings.topics.partitions)
    # Tests of bad input write invalid records to the same topics.
    read: list[dict[str, Any]] = []
    for raw in raws:
        with suppress(canonical.InvalidJson):
            read.append(canonical.loads_object(raw.value or b""))
    return read


async def wait_for_predictions(settings: Settings, session: str, count: int = 8) -> list[dict[str, Any]]:
    async def enough() -> list[dict[str, Any]] | None:
        everything = await read_topic(settings, settings.topic_names().predictions)
        finals = [p for p in everything if p.get("session") == session and p["final"]]
        return finals if len(finals) >= count else None

    return await wait_until(enough, f"{count} final predictions of {session}")
