"""Makes the topics and says where they differ from what the services rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from services.contract.topics import Topic
from services.kafka.signing import make_secret
from services.runtime.settings import Settings

LED_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """One thing that is not as it must be, and the command that repairs it."""

    topic: str
    what: str
    repair: str


def topic_definitions(settings: Settings) -> tuple[Topic, ...]:
    """The topics that these settings ask for."""
    a, t = settings.alignment, settings.topics
    media_ms = t.media_retention_min * 60_000
    return settings.topic_names().definitions(
        partitions=t.partitions,
        media_retention_ms=media_ms,
        frontier_retention_ms=a.stale_after_h * 3_600_000 + a.future_ms + media_ms + 3_600_000,
    )


async def create_missing_topics(admin: AIOKafkaAdminClient, settings: Settings, rolling_s: int = 0) -> list[str]:
    """Create what is missing, also the signing secret, and return the names of created topics.

    Existing topics are left as they are (`check` judges them). rolling_s: see `make_secret`.
    """
    existing = set(await admin.list_topics())
    make_secret(settings, existing, rolling_s)
    missing = [topic for topic in topic_definitions(settings) if topic.name not in existing]
    made = [
        NewTopic(
            topic.name,
            topic.partitions,
            settings.topics.replication_factor,
            topic_configs={**dict(topic.config), "min.insync.replicas": str(settings.topics.min_insync_replicas)},
        )
        for topic in missing
    ]
    if made:
        answer = await admin.create_topics(made)
        for name, code, *_ in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"topic {name} cannot be created")
        await _wait_for_leaders(admin, [topic.name for topic in missing])
    return [topic.name for topic in missing]


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until every partition has a leader: a producer that comes sooner only meets errors."""
    deadline = asyncio.get_running_loop().time() + LED_WITHIN_S
    while asyncio.get_running_loop().time() < deadline:
        descriptions = await admin.describe_topics(list(names))
        if all(p["leader"] >= 0 and not p["error_code"] for topic in descriptions for p in topic["partitions"]):
            return
        await asyncio.sleep(0.05)


async def check_topics(admin: AIOKafkaAdminClient, settings: Settings) -> list[TopicProblem]:
    """Return every difference between the topics and the settings."""
    topics = topic_definitions(settings)
    existing = set(await admin.list_topics())
    problems = [TopicProblem(t.name, "does not exist", "braid topics apply") for t in topics if t.name not in existing]
    there = [t for t in topics if t.name in existing]
    if not there:
        return problems
    counts = {d["topic"]: len(d["partitions"]) for d in await admin.describe_topics([t.name for t in there])}
    configs = await _configs(admin, [t.name for t in there])
    for topic in there:
        if counts[topic.name] != topic.partitions:
            problems.append(
                TopicProblem(
                    topic.name,
                    f"has {counts[topic.name]} partitions, {topic.partitions} are set",
                    f"set topics.partitions to {counts[topic.name]}, or delete the topic and `braid topics apply`",
                )
            )
        for name, value in topic.config:
            is_now = configs[topic.name].get(name)
            if is_now is not None and not _same(value, is_now):
                repair = f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.name}"
                # Commas within a value are bracketed for Kafka's own tool.
                quoted = f"[{value}]" if "," in value else value
                problems.append(
                    TopicProblem(
                        topic.name, f"{name} is {is_now}, must be {value}", f"{repair} --add-config {name}={quoted}"
                    )
                )
    return problems


def _same(one: str, other: str) -> bool:
    return set(one.split(",")) == set(other.split(","))


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    out: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for resource in answer.resources:
            out[resource[3]] = {entry[0]: entry[1] for entry in resource[4]}
    return out
