"""A session whose watermarks ran ahead is begun anew on the running system, and stays so after a restart."""

from __future__ import annotations

import time

from services.contract import tick
from services.contract.partitioner import partition_of
from services.inspection.audit.collect import collect_logs
from services.inspection.audit.ledger import Ledger, build_ledger
from services.kafka import clients
from services.kafka.session_resets import reset_session
from services.local.services import ServiceProcess
from services.runtime.settings import Settings
from tests.integration.session import play_session, read_topic, wait_for_predictions
from tests.waiting import wait_until

SESSION = "a room with a wrong clock"
DAY_US = 86_400_000_000


async def run_ahead(settings: Settings) -> None:
    """Raise the session's watermarks by a day, as an aligner does whose broker and devices have a wrong clock."""
    topics, signer = settings.topic_names(), settings.kafka.signer()
    number = partition_of(SESSION.encode(), settings.topics.partitions)
    (value,) = tick.encode({SESSION: time.time_ns() // 1000 + DAY_US}, "tick")
    async with clients.producer(settings.kafka) as producer:
        for topic in topics.media_all:
            headers = signer.sign(topic, number, None, value, tick.headers(value))
            await producer.send_and_wait(topic, value, partition=number, headers=headers)


async def audit(settings: Settings) -> Ledger:
    """Return the ledger of the session."""
    async with clients.reader(settings.kafka) as reader:
        logs = await collect_logs(reader, settings.topic_names(), settings.topics.partitions)
    return build_ledger(logs, settings.alignment_config(), lambda session: session == SESSION)


async def test_a_session_that_ran_ahead_gets_windows_again_after_a_reset(
    settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    topics = settings.topic_names()
    await run_ahead(settings)
    await play_session(settings, SESSION, hand)

    async def all_late() -> bool | None:
        late = [r for r in await read_topic(settings, topics.late) if r.get("session") == SESSION]
        return len(late) >= 24 or None

    await wait_until(all_late, "every chunk of the session to be late")
    _, is_known = await reset_session(settings, "a room without records")
    assert not is_known
    reset, is_known = await reset_session(settings, SESSION)
    assert is_known
    await play_session(settings, SESSION, hand)
    predictions = await wait_for_predictions(settings, SESSION)
    assert all(p["window"]["generation"] == reset.generation for p in predictions)
    assert all(f"/1~{reset.generation}@" in p["id"] for p in predictions)

    # Its offsets are committed beyond the reset: only the record of the generation says where it began.
    aligner = services["aligner"]
    assert await aligner.child.stop() == 0
    await aligner.restart()
    await play_session(settings, SESSION, hand)
    count = len(predictions) + 4
    predictions = await wait_for_predictions(settings, SESSION, count)
    assert {p["window"]["generation"] for p in predictions} == {reset.generation}

    async def settled() -> Ledger | None:
        ledger = await audit(settings)
        return ledger if ledger.balanced and not ledger.troubles else None

    ledger = await wait_until(settled, "an audit without troubles")
    assert ledger.fates["late"] >= 24
    assert ledger.fates["windowed"] >= 24
