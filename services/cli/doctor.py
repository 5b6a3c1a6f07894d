"""`braid doctor`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.cli import load_model, output
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.kafka.group_state import GroupState

# A service that works commits this soon after a window has closed; the second look is never later than the other time.
# A session id has only characters that can be printed.
NO_SESSION_KEY = b"\0clock"
COMMIT_S, LOOKS_APART_S_MAX = 7.0, 30.0
SHARE_IT = "Set BRAID_KAFKA__SIGNING_FILE (or BRAID_KAFKA__SIGNING_SECRETS) to the same secret everywhere."
SIGN_RECORDS = "Run `braid topics apply`, which makes a secret, then restart all services with it."


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
    checks = (
        _check_model(settings),
        _check_encoders(settings),
        _check_broker(settings),
        _check_redis(settings),
        _check_mqtt(settings),
    )
    return [finding for check in checks async for finding in check]


async def _check_model(settings: Settings) -> AsyncIterator[Finding]:
    from model.checkpoint_files import CheckpointError

    try:
        model = load_model.load_model(settings.fusion.model, settings.fusion.device)
    except CheckpointError as error:
        yield Finding("model", False, f"{error.what} {error.why}", error.do)
        return
    yield Finding("model", True, f"{model.name}/{model.version} {model.digest[:12]} on {model.device}")


async def _check_encoders(settings: Settings) -> AsyncIterator[Finding]:
    from model.pretrained.manifest import find_encoders

    for encoder in find_encoders([settings.fusion.encoders]):
        result = encoder.problem or f"{encoder.kind} from {encoder.place}"
        repair = f"Get it again (`braid model get {encoder.name}`), or delete {encoder.place}."
        yield Finding(f"encoder {encoder.name}", not encoder.problem, result, repair)


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
        yield await check_signatures(settings)
        yield await _check_partitioner(settings)
        yield await _check_transactions(settings)
    if not any(problem.what == topic_admin.MISSING for problem in problems):
        yield await _check_clock(settings)
        for finding in await _check_groups(settings):
            yield finding


async def check_signatures(settings: Settings) -> Finding:
    """Check that this process has the secret of the services: the last record that each aligner wrote says so."""
    from aiokafka import TopicPartition

    from services.contract.alignment_config import is_record_key
    from services.contract.signature import is_signed
    from services.kafka import clients
    from services.kafka.log_reader import read_range

    signer, topic = settings.kafka.signer(), settings.topic_names().frontier
    signed = verified = 0
    async with clients.reader(settings.kafka, with_forged=True) as reader:
        for number in range(settings.topics.partitions):
            async for record in read_range(reader, TopicPartition(topic, number)):
                if is_record_key(record.key or b"") and is_signed(record.headers):
                    signed += 1
                    verified += bool(signer.secrets) and signer.verify(topic, number, record)
    if signer.secrets and (verified or not signed):
        return Finding("signatures", True, "records of the services are signed")
    if signed:
        return Finding("signatures", False, "the services sign with a secret that is not here", SHARE_IT)
    return Finding("signatures", False, "records of the services are not signed: devices can forge them", SIGN_RECORDS)


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


async def _check_clock(settings: Settings) -> Finding:
    """Compare Kafka's clock with ours: the append time of a tombstone for a key that no session can have."""
    from services.kafka import clients
    from services.runtime.broker_clock import REPAIR, BrokerClock

    clock = BrokerClock()
    async with clients.producer(settings.kafka) as producer:
        # The first record also waits for the metadata of its topic.
        for _ in range(2):
            sent_us = time.time_ns() // 1000
            metadata = await producer.send_and_wait(
                settings.topic_names().control, None, key=NO_SESSION_KEY, partition=0
            )
            clock.observe(sent_us, time.time_ns() // 1000, metadata.timestamp)
    return Finding("clock", clock.problem is None, clock.problem or "Kafka's and this machine's agree", REPAIR)


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


async def _check_groups(settings: Settings) -> list[Finding]:
    """Check that aligner and fusion worker run and commit: two readings, as far apart as windows stay open."""
    from services.kafka import clients, group_state

    topics, a = settings.topic_names(), settings.alignment
    read_by = {"aligner": topics.media_all, "fusion": (topics.windows,)}
    open_ms = a.size_ms + max(max(m.lateness_ms, m.idle_timeout_ms) for m in a.modalities.values())

    async with clients.admin(settings.kafka) as admin, clients.reader(settings.kafka) as reader:

        async def read_states() -> dict[str, group_state.GroupState]:
            prefix, partitions = settings.kafka.group_prefix, settings.topics.partitions
            return {
                name: await group_state.read_group_state(admin, reader, f"{prefix}-{name}", names, partitions)
                for name, names in read_by.items()
            }

        first = await read_states()
        second = first
        if any(state.members and state.lag for state in first.values()):
            await asyncio.sleep(min(open_ms / 1000 + COMMIT_S, LOOKS_APART_S_MAX))
            second = await read_states()
    return [judge_group(name, first[name], second[name]) for name in read_by]


def judge_group(name: str, before: GroupState, now: GroupState) -> Finding:
    """Judge a service by two readings of its consumer group."""
    if not now.members:
        if now.committed is None and not now.lag:
            return Finding(name, True, "does not run, and no records wait for it")
        return Finding(name, False, f"does not run; {now.lag} records wait", f"Run `braid run {name}` or `braid up`.")
    if now.lag and now.committed == before.committed and now.ends > before.ends:
        return Finding(
            name,
            False,
            f"is in its group and commits nothing; {now.lag} records wait",
            f"Its log says why; restart it. `/readyz` of each {name} tells which one hangs.",
        )
    return Finding(name, True, f"runs ({now.members} in the group)")


async def _check_mqtt(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.mqtt.host:
        return
    from services.integrations.mqtt.client import check_connection

    where = f"{settings.mqtt.host}:{settings.mqtt.port}"
    problem = await check_connection(settings.mqtt)
    repair = "Start the MQTT broker, or correct mqtt.host, mqtt.port, mqtt.tls and the credentials."
    yield Finding("MQTT", not problem, f"{where} answers" if not problem else f"{where}: {problem}", repair)


async def _check_redis(settings: Settings) -> AsyncIterator[Finding]:
    from services.storage.payload_cache import PayloadCache
    from services.storage.redis_client import FAILURES

    if not settings.redis.url:
        yield Finding("Redis", False, "none is configured", "Run `braid up`, or set BRAID_REDIS__URL.")
        return
    cache = PayloadCache.from_settings(settings.redis.model_copy(update={"timeout_ms": 2_000}))
    try:
        await cache.ping()
        policies = await cache.policies()
    except FAILURES as error:
        repair = "Start it; until then all payloads are read from Kafka."
        yield Finding("Redis", False, f"does not answer ({type(error).__name__})", repair)
        return
    finally:
        await cache.close()
    yield Finding("Redis", True, "answers")
    yield Finding(
        "Redis policy",
        policies == {"noeviction"},
        f"maxmemory-policy is {', '.join(sorted(policies))}",
        "redis-cli config set maxmemory-policy noeviction",
    )
