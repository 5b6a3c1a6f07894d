"""`braid migrate-settings`: hand sessions over to changed alignment settings."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from services.cli import output
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.contract.alignment_config import AlignmentConfig
    from services.contract.topics import Topics

# How long the broker may take to forget an aligner after its session timed out.
GROUP_GONE_WITHIN_S = 10


def migrate_settings(json: output.Json = False) -> None:
    """Change alignment settings without losing a window: stop devices and aligners, edit braid.yaml, run this, start.

    Open windows are closed under the settings that opened them, and every session is handed over to the new settings.
    Exit code 0: the aligner may start (also if there was nothing to do); 1: devices still send.
    """
    settings = load()
    settings.require_broker()
    if not settings.redis.url:
        raise output.UsageError("No Redis is configured.", "redis.url is empty.", "Set BRAID_REDIS__URL.")
    summary = asyncio.run(_migrate(settings))
    if json:
        output.print_json(summary)
    elif summary["from"] is None:
        print(f"Nothing to do: all windows in the topics were made under the current settings ({summary['to']}).")
    else:
        print(f"{summary['sessions']} sessions were migrated from settings {summary['from']} to {summary['to']}.")
        print("The aligner may start.")


def drain(json: output.Json = False) -> None:
    """Run `braid migrate-settings`, which is the new name of this verb."""
    output.note("`braid drain` is now called `braid migrate-settings`; the next release removes the old name")
    migrate_settings(json)


async def _migrate(settings: Settings) -> dict[str, Any]:
    from services.aligner.settings_migration import (
        MigrationError,
        hand_over,
        read_former_settings,
        record_frontiers,
    )
    from services.kafka import clients
    from services.kafka.signing_secret import check_secret

    broker, topics, partitions = settings.kafka, settings.topic_names(), settings.topics.partitions
    config = settings.alignment_config().digest
    await check_secret(settings)
    await _wait_until_aligners_are_gone(settings)
    async with clients.reader(broker) as reader:
        former = await read_former_settings(reader, topics, range(partitions), config)
        if former.unreadable:
            raise MigrationError(
                "Settings were not migrated.",
                f"The settings {', '.join(sorted(former.unreadable))} were written by another version of Braid.",
                "Run the migration with that version.",
            )
        if len(former.semantics) > 1:
            raise MigrationError(
                "Settings were not migrated.",
                f"The topics hold windows of several other settings: {', '.join(sorted(former.semantics))}.",
                "Start the aligner once with the settings used last, stop it, and migrate from these.",
            )
        if not former.semantics and not former.unrecorded_configs:
            return {"from": None, "to": config, "sessions": 0}
        names = sorted(former.semantics.keys() | former.unrecorded_configs)
        sessions = sum(map(len, former.unrecorded.values()))
        async with clients.producer(broker) as producer:
            if former.unrecorded_configs:
                output.note(
                    f"The settings {', '.join(sorted(former.unrecorded_configs))} are not recorded in the topics (any "
                    "more): windows that were open under them stay unfinished."
                )
                target = next(iter(former.semantics), config)
                await record_frontiers(producer, topics, former.unrecorded, target)
            for old in former.semantics.values():
                await _close_windows(settings, old)
                former = await read_former_settings(reader, topics, range(partitions), config)
                sessions = former.sessions
                await hand_over(producer, topics, former, config)
    return {"from": ", ".join(names), "to": config, "sessions": sessions}


async def _close_windows(settings: Settings, old: AlignmentConfig) -> None:
    from services.aligner.config import AlignerConfig
    from services.aligner.metrics import AlignerObserver
    from services.aligner.settings_migration import close_windows
    from services.aligner.worker import AlignerWorker
    from services.kafka import clients
    from services.runtime.metric_definitions import AlignerMetrics, make_registry
    from services.storage.payload_cache import PayloadCache

    broker, topics = settings.kafka, _topics_of(settings, old)
    worker = AlignerWorker(
        AlignerConfig.from_settings(settings, old, topics),
        lambda: clients.make_producer(broker),
        lambda level: clients.make_reader(broker, isolation_level=level),
        lambda: PayloadCache.from_settings(settings.redis),
        AlignerObserver(AlignerMetrics(make_registry("migrate-settings")), traced=0),
    )
    as_before = broker.model_copy(update={"isolation_level": old.isolation_level})
    group = clients.make_group_consumer(
        as_before, f"{settings.kafka.group_prefix}-aligner", "", settings.topics.partitions
    )
    group.subscribe(list(topics.media_all))
    await group.start()
    try:
        await worker.start()
        try:
            await close_windows(group, worker, topics, settings.topics.partitions, _print_progress)
        finally:
            await worker.stop()
    finally:
        await group.stop()


def _topics_of(settings: Settings, semantics: AlignmentConfig) -> Topics:
    from services.contract.topics import Topics

    return Topics(prefix=settings.topics.prefix, modalities=semantics.modalities)


async def _wait_until_aligners_are_gone(settings: Settings) -> None:
    """Wait for an empty consumer group: the broker takes some seconds to forget an aligner that was stopped just now."""
    from services.aligner.settings_migration import MigrationError
    from services.kafka import clients

    group = f"{settings.kafka.group_prefix}-aligner"
    away_s = max(settings.kafka.session_timeout_ms, clients.SESSION_MS) / 1000
    deadline = asyncio.get_running_loop().time() + away_s + GROUP_GONE_WITHIN_S
    async with clients.admin(settings.kafka) as admin:
        while True:
            (description,) = await admin.describe_consumer_groups([group])
            state = description.groups[0][2]
            if state in ("Empty", "Dead"):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise MigrationError(
                    "Settings were not migrated.",
                    f"An aligner is running (consumer group {group} is {state}).",
                    "Stop all aligners, then run this again.",
                )
            await asyncio.sleep(0.5)


def _print_progress(text: str) -> None:
    print(f"\r{text:60}", end="", file=sys.stderr, flush=True)
