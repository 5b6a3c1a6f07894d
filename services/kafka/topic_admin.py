"""Makes the topics and says where they differ from what the services rely on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from services.contract.topics import Topic, Topics
from services.contract.user_errors import EXIT_USAGE, BraidError
from services.kafka import clients
from services.kafka.signing_secret import make_secret
from services.runtime.settings import KafkaSettings, Settings, TopicSettings

LED_WITHIN_S = 10
MISSING = "does not exist"
_MIN_INSYNC = "min.insync.replicas"
# A prediction names the members of its window, and each that it could not use once more.
RECORD_BYTES_FACTOR = 3
_log = logging.getLogger(__name__)
_SOURCE_TOPIC = 1  # DYNAMIC_TOPIC_CONFIG in Kafka's DescribeConfigs


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """One thing that is not as it must be, and the command that repairs it."""

    topic: str
    what: str
    repair: str


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One configuration of a topic that differs from the settings."""

    topic: str
    name: str
    before: str
    after: str


def topic_definitions(settings: Settings) -> tuple[Topic, ...]:
    """The topics that these settings ask for."""
    a, t = settings.alignment, settings.topics
    media_ms = t.media_retention_min * 60_000
    return settings.topic_names().definitions(
        partitions=t.partitions,
        media_retention_ms=media_ms,
        retention_bytes=None if t.retention_mb is None else t.retention_mb * 1_000_000,
        frontier_retention_ms=a.stale_after_h * 3_600_000 + a.future_ms + media_ms + 3_600_000,
    )


async def create_missing_topics(admin: AIOKafkaAdminClient, settings: Settings, rolling_s: int = 0) -> list[str]:
    """Create what is missing, also the signing secret, and return the names of created topics.

    Existing topics are left as they are (see `config_changes`). rolling_s: see `make_secret`.
    """
    existing = set(await admin.list_topics())
    make_secret(settings, existing, rolling_s)
    missing = [topic for topic in topic_definitions(settings) if topic.name not in existing]
    made = [
        NewTopic(
            topic.name,
            topic.partitions,
            settings.topics.replication_factor,
            topic_configs=_config_of(topic, settings),
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
        # A topic that the broker does not know yet has an error and no partitions.
        if all(
            not topic["error_code"] and all(p["leader"] >= 0 and not p["error_code"] for p in topic["partitions"])
            for topic in descriptions
        ):
            return
        await asyncio.sleep(0.05)


async def check_topics(admin: AIOKafkaAdminClient, settings: Settings) -> list[TopicProblem]:
    """Return every difference between the topics and the settings."""
    topics = topic_definitions(settings)
    existing = set(await admin.list_topics())
    problems = [TopicProblem(t.name, MISSING, "braid topics apply") for t in topics if t.name not in existing]
    there = [t for t in topics if t.name in existing]
    if not there:
        return problems
    partitions = {d["topic"]: d["partitions"] for d in await admin.describe_topics([t.name for t in there])}
    for topic in there:
        problems += _partition_problems(topic, partitions[topic.name], settings.topics)
    for change in await config_changes(admin, settings):
        what = f"{change.name} is {change.before}, must be {change.after}"
        problems.append(TopicProblem(change.topic, what, "braid topics apply"))
    return problems


def _partition_problems(
    topic: Topic, partitions: Sequence[Mapping[str, Any]], wanted: TopicSettings
) -> Iterator[TopicProblem]:
    if len(partitions) != topic.partitions:
        yield TopicProblem(
            topic.name,
            f"has {len(partitions)} partitions, {topic.partitions} are set",
            f"set topics.partitions to {len(partitions)}, or delete the topic and `braid topics apply`",
        )
    replicas = sorted({len(p["replicas"]) for p in partitions})
    if replicas != [wanted.replication_factor]:
        yield TopicProblem(
            topic.name,
            f"has {' or '.join(map(str, replicas))} replicas of each partition, {wanted.replication_factor} are set",
            f"set topics.replication_factor to {replicas[0]}, or move the partitions with kafka-reassign-partitions.sh",
        )
    short = [p["partition"] for p in partitions if len(p["isr"]) < wanted.min_insync_replicas]
    if short:
        yield TopicProblem(
            topic.name,
            f"partitions {', '.join(map(str, sorted(short)))} have fewer replicas in sync than topics.min_insync_replicas "
            f"({wanted.min_insync_replicas}): nothing can be written to them",
            "start the brokers that are down",
        )


async def config_changes(admin: AIOKafkaAdminClient, settings: Settings) -> list[ConfigChange]:
    """Return the configurations of existing topics that differ from the settings.

    `min.insync.replicas` is left out where a topic has fewer replicas: nothing could be written to it any more.
    """
    existing = set(await admin.list_topics())
    there = [topic for topic in topic_definitions(settings) if topic.name in existing]
    names = [topic.name for topic in there]
    configs = await _configs(admin, names)
    described = await admin.describe_topics(names) if names else []
    replicas = {d["topic"]: min(len(p["replicas"]) for p in d["partitions"]) for d in described}
    return [
        ConfigChange(topic.name, name, configs[topic.name][name].value, value)
        for topic in there
        for name, value in _config_of(topic, settings).items()
        if name in configs[topic.name]
        and not _same(value, configs[topic.name][name].value)
        and (name != _MIN_INSYNC or int(value) <= replicas[topic.name])
    ]


async def apply_changes(admin: AIOKafkaAdminClient, changes: Sequence[ConfigChange]) -> None:
    """Change the configurations of topics; other configurations that were set for a topic stay. Raises KafkaError."""
    changed: dict[str, dict[str, str]] = {}
    for change in changes:
        changed.setdefault(change.topic, {})[change.name] = change.after
    if not changed:
        return
    # The request of this client replaces all that is set for a topic, so what is set now goes with it.
    configs = await _configs(admin, list(changed))
    own = {topic: {name: e.value for name, e in configs[topic].items() if e.is_of_topic} for topic in changed}
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, own[topic] | changed[topic]) for topic in changed]
    for answer in await admin.alter_configs(resources):
        for code, message, _, name in answer.resources:
            if code:
                raise for_code(code)(f"topic {name} cannot be changed: {message}")


class RecordLimitError(BraidError):
    """A topic that refuses records of the size that the settings allow."""

    exit_code = EXIT_USAGE


async def check_record_limits(where: KafkaSettings, topics: Topics, window_bytes_max: int | None) -> None:
    """Raise RecordLimitError if a window or prediction of the largest size would not fit its topic."""
    needed = RECORD_BYTES_FACTOR * (window_bytes_max or 0)
    try:
        async with clients.admin(where) as admin:
            configs = await _configs(admin, [topics.windows, topics.predictions])
    except KafkaError as error:  # a principal may not be allowed to read configurations
        _log.warning("The size limits of the topics cannot be read.", extra={"why": str(error)})
        return
    for topic, config in configs.items():
        limit = int(config["max.message.bytes"].value)
        if limit < needed:
            raise RecordLimitError(
                f"Topic {topic} takes records of {limit} bytes, and a full window could need {needed}.",
                f"alignment.window_bytes_max is {window_bytes_max}.",
                "Raise max.message.bytes with `braid topics apply`, or lower alignment.window_bytes_max and run "
                "`braid migrate-settings`.",
            )


def _config_of(topic: Topic, settings: Settings) -> dict[str, str]:
    return {**dict(topic.config), _MIN_INSYNC: str(settings.topics.min_insync_replicas)}


def _same(one: str, other: str) -> bool:
    return set(one.split(",")) == set(other.split(","))


class _Config(NamedTuple):
    value: str
    is_of_topic: bool  # Set for the topic, not for the broker or by default.


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, _Config]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, _Config]] = {}
    for answer in await admin.describe_configs(resources):
        for code, message, _, topic, entries in answer.resources:
            if code:
                raise for_code(code)(f"the configuration of topic {topic} cannot be read: {message}")
            configs[topic] = {name: _Config(value, source == _SOURCE_TOPIC) for name, value, _, source, *_ in entries}
    return configs
