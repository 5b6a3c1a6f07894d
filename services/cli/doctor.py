"""`braid doctor`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.cli import load_model, output
from services.runtime.settings import Settings, load


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, and how to repair what is wrong."""

    subject: str
    ok: bool
    result: str
    repair: str = ""


def doctor(json: output.Json = False) -> None:
    """Check everything Braid depends on and suggest fixes. Exit code 1 if a check fails."""
    findings = asyncio.run(_check_all(load()))
    if json:
        output.print_json(
            [{"what": f.subject, "ok": f.ok, "result": f.result, "repair": f.repair} for f in findings],
        )
    else:
        for f in findings:
            print(f"{'ok  ' if f.ok else 'BAD '} {f.subject}: {f.result}" + (f"\n     {f.repair}" if not f.ok else ""))
    sys.exit(0 if all(f.ok for f in findings) else 1)


async def _check_all(settings: Settings) -> list[Finding]:
    checks = (_check_model(settings), _check_broker(settings), _check_redis(settings))
    return [finding for check in checks async for finding in check]


async def _check_model(settings: Settings) -> AsyncIterator[Finding]:
    from model.checkpoint import CheckpointError

    try:
        model = load_model.load_model(settings.fusion.model, settings.fusion.device)
    except CheckpointError as error:
        yield Finding("model", False, f"{error.what} {error.why}", error.do)
        return
    yield Finding("model", True, f"{model.name}/{model.version} {model.digest[:12]} on {model.device}")


async def _check_broker(settings: Settings) -> AsyncIterator[Finding]:
    from aiokafka.errors import KafkaError

    from services.kafka import clients, topic_admin

    servers = settings.kafka.bootstrap_servers
    if not servers:
        yield Finding("broker", False, "none is configured", "Run `braid up`, or set BRAID_KAFKA__BOOTSTRAP_SERVERS.")
        return
    try:
        async with clients.admin(settings.kafka) as admin:
            problems = await topic_admin.check_topics(admin, settings)
    except (KafkaError, OSError) as error:
        yield Finding("broker", False, f"{servers} does not answer ({error})", "Start it, or correct the address.")
        return
    yield Finding("broker", True, servers)
    for problem in problems:
        yield Finding(f"topic {problem.topic}", False, problem.what, problem.repair)
    if not problems:
        yield Finding("topics", True, "OK")
        yield await _check_partitioner(settings)
        yield await _check_transactions(settings)


async def _check_transactions(settings: Settings) -> Finding:
    from aiokafka import TopicPartition

    from services.kafka.open_transactions import SAY_AFTER_MS, find_open_transactions

    topics = settings.topic_names().media_all
    logs = [TopicPartition(topic, number) for topic in topics for number in range(settings.topics.partitions)]
    before_ms = int(time.time() * 1000) - SAY_AFTER_MS
    begun_ms = await find_open_transactions(settings.kafka, logs)
    held = sorted(f"{tp.topic}/{tp.partition}" for tp, at_ms in begun_ms.items() if at_ms < before_ms)
    return Finding(
        "transactions",
        not held,
        f"an open transaction holds back what was sent to {', '.join(held)}" if held else "none is open for long",
        "Commit or abort it (kafka-transactions.sh find-hanging), or lower the producer's transaction.timeout.ms.",
    )


async def _check_partitioner(settings: Settings) -> Finding:
    from services.contract import canonical
    from services.contract.dead_letter import Reason
    from services.inspection.audit.collect import collect_topic
    from services.kafka import clients

    async with clients.reader(settings.kafka) as reader:
        dead = await collect_topic(reader, settings.topic_names().dead, settings.topics.partitions)
    # Values that are not JSON objects come from other producers and say nothing about partitions.
    wrong = sum(canonical.object_or_empty(record.value).get("reason") == Reason.PARTITION for record in dead)
    return Finding(
        "partitioner",
        not wrong,
        f"{wrong} records are not in the partition of their key (murmur2)"
        if wrong
        else "all records are in the right partition",
        "Set partitioner=murmur2_random in clients that use librdkafka.",
    )


async def _check_redis(settings: Settings) -> AsyncIterator[Finding]:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    if not settings.redis.url:
        yield Finding("Redis", False, "none is configured", "Run `braid up`, or set BRAID_REDIS__URL.")
        return
    client = Redis.from_url(settings.redis.url, socket_timeout=2, socket_connect_timeout=2, **settings.redis.access())
    try:
        await client.ping()
        policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy")
    except (RedisError, OSError) as error:
        repair = "Start it; until then all payloads are read from Kafka."
        yield Finding("Redis", False, f"does not answer ({type(error).__name__})", repair)
        return
    finally:
        await client.aclose()
    yield Finding("Redis", True, "answers")
    yield Finding(
        "Redis policy",
        policy == "noeviction",
        f"maxmemory-policy is {policy}",
        "redis-cli config set maxmemory-policy noeviction",
    )
