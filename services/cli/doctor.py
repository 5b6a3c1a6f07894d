"""`braid doctor`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.cli import output
from services.runtime.settings import Settings, load


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, whether it is well, and what to do where it is not."""

    what: str
    ok: bool
    told: str
    repair: str = ""


def doctor(json: output.Json = False) -> None:
    """Look at everything Braid leans on and say how to repair what is wrong; 1 where something is."""
    settings = load()
    found = asyncio.run(_all(settings))
    if json:
        output.result([{"what": f.what, "ok": f.ok, "told": f.told, "repair": f.repair} for f in found])
    else:
        for f in found:
            print(f"{'ok  ' if f.ok else 'BAD '} {f.what}: {f.told}" + (f"\n     {f.repair}" if not f.ok else ""))
    sys.exit(0 if all(f.ok for f in found) else 1)


async def _all(settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    for part in (_model(settings), _broker(settings), _redis(settings)):
        found += [finding async for finding in part]
    return found


async def _model(settings: Settings) -> AsyncIterator[Finding]:
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model

    try:
        found = load_model(settings.fusion.model, settings.fusion.device)
    except CheckpointError as error:
        yield Finding("model", False, str(error), "`braid train` makes one; `fusion.model` says where it is")
        return
    yield Finding("model", True, f"{found.name}/{found.version} {found.digest[:12]} on {found.device}")


async def _broker(settings: Settings) -> AsyncIterator[Finding]:
    from aiokafka.errors import KafkaError

    from services.kafka import clients, topic_admin

    servers = settings.kafka.bootstrap_servers
    if not servers:
        yield Finding("broker", False, "none is named", "`braid up`, or set BRAID_KAFKA__BOOTSTRAP_SERVERS")
        return
    try:
        async with clients.admin(settings.kafka) as admin:
            troubles = await topic_admin.check_topics(admin, settings)
    except (KafkaError, OSError) as error:
        yield Finding("broker", False, f"{servers} does not answer ({error})", "start it, or correct the address")
        return
    yield Finding("broker", True, servers)
    for t in troubles:
        yield Finding(f"topic {t.topic}", False, t.what, t.repair)
    if not troubles:
        yield Finding("topics", True, "as they must be")
        async for f in _partitioner(settings):
            yield f


async def _partitioner(settings: Settings) -> AsyncIterator[Finding]:
    from services.contract import canonical
    from services.contract.dead_letter import Reason
    from services.kafka import clients

    from services.inspection.audit.collect import collect_topic  # isort: skip

    async with clients.reader(settings.kafka) as reader:
        dead = await collect_topic(reader, settings.topic_names().dead, settings.topics.partitions)
    # What somebody else wrote there says nothing of a partition.
    wrong = sum(canonical.object_or_empty(raw.value).get("reason") == Reason.PARTITION for raw in dead)
    yield Finding(
        "partitioner",
        not wrong,
        f"{wrong} records came in another partition than murmur2 of their key" if wrong else "no record went astray",
        "librdkafka clients need partitioner=murmur2_random",
    )


async def _redis(settings: Settings) -> AsyncIterator[Finding]:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    if not settings.redis.url:
        yield Finding("Redis", False, "none is named", "`braid up`, or set BRAID_REDIS__URL")
        return
    client = Redis.from_url(settings.redis.url, socket_timeout=2, socket_connect_timeout=2, **settings.redis.access())
    try:
        await client.ping()
        policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy")
    except (RedisError, OSError) as error:
        yield Finding(
            "Redis", False, f"does not answer ({type(error).__name__})", "start it; until then all is read from the log"
        )
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
