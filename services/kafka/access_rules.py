"""Access rules for Kafka and Redis: each service and each device gets what the table of topics says, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from services.contract.topics import ROLES, Role
from services.kafka.topic_admin import topic_definitions
from services.runtime.settings import Settings

# What `braid topics apply` and `braid topics check` do beside reading and writing.
_OF_OPERATOR = ("Create", "DescribeConfigs", "AlterConfigs")
# Connection, cluster topology, version: what redis-py asks for. Everything that can harm others is left out.
_REDIS_CLIENT = (
    "+@connection -@dangerous +ping +info +config|get +command "
    "+cluster|slots +cluster|shards +cluster|nodes +cluster|info"
)
_REDIS_WRITE, _REDIS_READ, _REDIS_FORGET = "+hset +ttl +expire +unlink", "+hmget", "+scan"
_REDIS: Mapping[Role, str] = {
    "aligner": _REDIS_WRITE,
    "fusion": _REDIS_READ,
    "gateway": _REDIS_READ,
    "operator": f"{_REDIS_WRITE} {_REDIS_FORGET}",
}
REDIS_KEYS = "braid:*"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """The operations that a role may do on resources of one type."""

    role: Role
    resource: Literal["topic", "group"]
    operations: tuple[str, ...]
    names: tuple[str, ...]


def access_rules(settings: Settings) -> list[AccessRule]:
    """Return the rules of all roles: as few as possible, each resource of a role in exactly one."""
    prefix = settings.kafka.group_prefix
    groups: dict[Role, dict[str, tuple[str, ...]]] = {
        "aligner": {f"{prefix}-aligner": ("Read",)},
        "fusion": {f"{prefix}-fusion": ("Read",), f"{prefix}-forged": ("Read",)},
        # `braid migrate-settings` reads on in the place of the aligner.
        "operator": {f"{prefix}-aligner": ("Read",), f"{prefix}-fusion": ("Describe",)},
    }
    rules: list[AccessRule] = []
    for role in ROLES:
        of_topics: dict[str, tuple[str, ...]] = {}
        for topic in topic_definitions(settings):
            operations = (
                *(("Read",) if role in topic.readers else ()),
                *(("Write",) if role in topic.writers else ()),
                *(_OF_OPERATOR if role == "operator" else ()),
            )
            if operations:
                of_topics[topic.name] = operations
        rules += _grouped(role, "topic", of_topics)
        rules += _grouped(role, "group", groups.get(role, {}))
    return rules


def _grouped(
    role: Role, resource: Literal["topic", "group"], of: Mapping[str, tuple[str, ...]]
) -> Iterator[AccessRule]:
    names: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, operations in of.items():
        names[operations].append(name)
    for operations, same in names.items():
        yield AccessRule(role, resource, operations, tuple(same))


def kafka_acls(rules: Sequence[AccessRule], user: str) -> Iterator[str]:
    """Yield the arguments of Kafka's kafka-acls.sh that add the rules; in `user`, {role} stands for the role."""
    for rule in rules:
        operations = " ".join(f"--operation {operation}" for operation in rule.operations)
        names = " ".join(f"--{rule.resource} {name}" for name in rule.names)
        yield f"--add --allow-principal 'User:{user.format(role=rule.role)}' {operations} {names}"


def strimzi_users(rules: Sequence[AccessRule], user: str, cluster: str) -> str:
    """Return the rules as KafkaUser resources of the Strimzi operator; `cluster` is the name of its Kafka resource."""
    return yaml.safe_dump_all(
        [_strimzi_user(role, [r for r in rules if r.role == role], user, cluster) for role in ROLES], sort_keys=False
    )


def _strimzi_user(role: Role, rules: Sequence[AccessRule], user: str, cluster: str) -> dict[str, Any]:
    acls = [
        {
            "resource": {"type": rule.resource, "name": name, "patternType": "literal"},
            "operations": list(rule.operations),
        }
        for rule in rules
        for name in rule.names
    ]
    return {
        "apiVersion": "kafka.strimzi.io/v1beta2",
        "kind": "KafkaUser",
        "metadata": {"name": user.format(role=role), "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": acls},
        },
    }


def redis_acls(user: str, passwords: Mapping[Role, str]) -> Iterator[str]:
    """Yield the lines of a Redis ACL file, for each role that uses Redis."""
    for role, commands in _REDIS.items():
        name = user.format(role=role)
        yield f"user {name} on >{passwords[role]} ~{REDIS_KEYS} resetchannels -@all {_REDIS_CLIENT} {commands}"
