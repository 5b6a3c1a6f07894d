"""`braid drain`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from services.cli import say
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.contract.semantics import Semantics
    from services.contract.topics import Topics

GONE_WITHIN_S = 15


def drain(json: say.Json = False) -> None:
    """Change alignment settings without losing a window: stop devices and aligner, edit braid.yaml, run this, start.

    Windows that are open are closed under the settings that opened them, and every session is handed over to the
    settings in force. 0 when the aligner may start (also where nothing was to do), 1 where devices still send.
    """
    from aiokafka.errors import KafkaError

    from services.aligner.drain import CannotDrain

    settings = load()
    if not settings.kafka.bootstrap_servers or not settings.redis.url:
        say.no_broker()
    try:
        out = asyncio.run(_drain(settings))
    except CannotDrain as error:
        say.fail(str(error))
    except KafkaError as error:
        say.fail(f"the broker does not answer as it should ({error}); `braid doctor` looks closer")
    if json:
        say.result(out)
    elif out["from"] is None:
        print(f"nothing to do: everything in the topics was made under the settings in force ({out['to']})")
    else:
        print(f"{out['sessions']} sessions were handed over from settings {out['from']} to {out['to']}")
        print("the aligner may start")


async def _drain(settings: Settings) -> dict[str, Any]:
    from services.aligner.drain import CannotDrain, hand_over, look
    from services.runtime import kafka

    broker, topics, count = settings.kafka, settings.topic_names(), settings.topics.partitions
    ours = settings.semantics()
    await _nobody_is_at_work(settings)
    async with kafka.reader(broker) as reader:
        found = await look(reader, topics, range(count), ours.config)
        if found.unreadable:
            raise CannotDrain(
                f"settings {sorted(found.unreadable)} were told by another version of Braid: drain with it"
            )
        if len(found.semantics) > 1:
            raise CannotDrain(
                f"windows of several other settings ({', '.join(sorted(found.semantics))}) are in these topics: start "
                "once with the settings used last and drain then"
            )
        if not found.semantics:
            return {"from": None, "to": ours.config, "sessions": 0}
        (old,) = found.semantics.values()
        await _close(settings, old, count)
        found = await look(reader, topics, range(count), ours.config)
        async with kafka.producer(broker) as producer:
            await hand_over(producer, topics, found, ours.config)
    return {"from": old.config, "to": ours.config, "sessions": found.sessions}


async def _close(settings: Settings, old: Semantics, count: int) -> None:
    from services.aligner.__main__ import rules_of
    from services.aligner.drain import close_all
    from services.aligner.observe import Observer
    from services.aligner.worker import Worker
    from services.payloads.redis_window import RedisWindow
    from services.runtime import kafka
    from services.runtime.metrics import AlignerMetrics, make_registry

    broker, topics = settings.kafka, _topics_of(settings, old)
    worker = Worker(
        rules_of(settings, old, topics),
        lambda: kafka.make_producer(broker),
        lambda: kafka.make_reader(broker),
        lambda: RedisWindow.of(settings.redis),
        Observer(AlignerMetrics(make_registry("drain")), traced=0),
    )
    group = kafka.make_group_consumer(broker, f"{settings.kafka.group_prefix}-aligner", "")
    group.subscribe(list(topics.media_all))
    await group.start()
    try:
        await worker.start()
        await close_all(group, worker, topics, count, _progress)
        await worker.stop()
    finally:
        await group.stop()


def _topics_of(settings: Settings, semantics: Semantics) -> Topics:
    from services.contract.topics import Topics

    return Topics(prefix=settings.topics.prefix, modalities=semantics.modalities)


async def _nobody_is_at_work(settings: Settings) -> None:
    """An aligner that was stopped just now is forgotten by the broker after some seconds."""
    from services.aligner.drain import CannotDrain
    from services.runtime import kafka

    group = f"{settings.kafka.group_prefix}-aligner"
    deadline = asyncio.get_running_loop().time() + GONE_WITHIN_S
    async with kafka.admin(settings.kafka) as admin:
        while True:
            (told,) = await admin.describe_consumer_groups([group])
            state = told.groups[0][2]
            if state in ("Empty", "Dead"):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise CannotDrain(f"an aligner is at work (group {group} is {state}): stop it first")
            await asyncio.sleep(0.5)


def _progress(text: str) -> None:
    print(f"\r{text:60}", end="", file=sys.stderr, flush=True)
