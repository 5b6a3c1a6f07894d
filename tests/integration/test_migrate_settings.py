"""A change of alignment settings on a live installation: rejected, migrated, continued."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from services.contract import cloudevents
from services.contract.window import Window, WindowMembers, encode
from services.inspection.audit.collect import collect_logs
from services.inspection.audit.ledger import build_ledger
from services.kafka import clients, topic_admin
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load
from tests.waiting import wait_until

OWN = {"BRAID_TOPICS__PREFIX": "migrated", "BRAID_TOPICS__PARTITIONS": "2", "BRAID_KAFKA__GROUP_PREFIX": "migrated"}
NEW = {**OWN, "BRAID_ALIGNMENT__HOP_MS": "1000"}
SESSION = "living room"
BRAID = str(Path(sys.executable).parent / "braid")


async def braid(environment: Mapping[str, str], *words: str) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of a command."""
    process = await asyncio.create_subprocess_exec(
        BRAID, *words, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def send(settings: Settings, start_us: int, count: int = 8) -> None:
    """Send a text for each half second of event time."""
    async with clients.producer(settings.kafka.bootstrap_servers) as producer:
        for n in range(count):
            headers = cloudevents.build_headers(
                session=SESSION,
                source="/devices/phone/text",
                id=f"{start_us} {n}",
                type=cloudevents.media_type("text"),
                t_us=start_us + n * 500_000,
                content_type="text/plain",
            )
            topic = settings.topic_names().media("text")
            await producer.send_and_wait(topic, b"hello", key=SESSION.encode(), headers=headers)


async def audited_windows(settings: Settings) -> list[Window]:
    """Return the final windows once the audit under these settings finds no problem."""
    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        logs = await collect_logs(reader, settings.topic_names(), settings.topics.partitions)
    books = build_ledger(logs, settings.alignment_config(), lambda session: True)
    assert books.troubles == []
    assert books.balanced
    return [window for window, _, _ in books.windows.values()]


async def finals(settings: Settings) -> list[Window]:
    from services.contract import window as window_record

    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        logs = await collect_logs(reader, settings.topic_names(), settings.topics.partitions)
    windows = (window_record.decode_or_none(raw.value) for one in logs for raw in one.windows)
    return [window for window in windows if window is not None and window.final]


@pytest.fixture
async def aligner(stack: LocalStack) -> object:
    """Return a function that starts an aligner with these settings on the topics of this module."""
    started: list[ServiceProcess] = []

    def start(own: Mapping[str, str]) -> ServiceProcess:
        process = ServiceProcess("aligner", stack.folder, {**stack.environment(), **own}, number=10 + len(started))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        await process.child.stop()


async def test_migrate_settings_loses_and_repeats_no_window(
    stack: LocalStack, aligner: Callable[[Mapping[str, str]], ServiceProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = stack.environment()
    for name, value in {**here, **OWN}.items():
        monkeypatch.setenv(name, value)
    old, new = load(), load(alignment={"hop_ms": 1_000})
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.create_missing_topics(admin, old)
    start_us = (int(time.time()) - 5) * 1_000_000
    first = aligner(OWN)
    await first.wait_until_ready()
    await send(old, start_us)
    await wait_until(lambda: finals(old), "a window under the old settings")
    await send(old, start_us + 4_000_000, 2)
    await first.child.stop()  # the last windows are still open

    rejected = aligner(NEW)
    await wait_until(lambda: ended(rejected), "the aligner to reject the settings")
    assert "run `braid migrate-settings`" in rejected.child.log_tail()
    assert rejected.child.exit_code == 2

    sending = asyncio.create_task(keep_sending(new))
    code, _, err = await braid({**here, **NEW}, "migrate-settings")
    sending.cancel()
    assert code == 1
    assert "/devices/phone/text (session living room)" in err
    assert len(err.strip().splitlines()) <= 3

    code, out, err = await braid({**here, **NEW}, "migrate-settings", "--json")
    assert code == 0, err
    assert json.loads(out) == {
        "from": old.alignment_config().digest,
        "sessions": 1,
        "to": new.alignment_config().digest,
    }
    assert json.loads((await braid({**here, **NEW}, "migrate-settings", "--json"))[1])["from"] is None
    before = await audited_windows(old)
    last_us = max(window.start_us for window in before)
    assert min(window.start_us for window in before) == start_us - 1_500_000

    await aligner(NEW).wait_until_ready()
    resumed_us = (int(time.time()) + 1) * 1_000_000
    await send(new, resumed_us)

    async def all_windows() -> list[Window] | None:
        windows = [window for window in await finals(new) if window.config == new.alignment_config().digest]
        return windows if any(window.start_us == resumed_us + 3_000_000 for window in windows) else None

    after = await wait_until(all_windows, "the windows under the new settings")
    starts = [window.start_us for window in after]
    assert starts == list(range(resumed_us - 1_000_000, resumed_us + 3_500_000, 1_000_000))
    assert min(starts) > last_us
    assert len(await finals(new)) == len(before) + len(after)

    code, _, err = await braid({**here, **NEW}, "audit")
    assert code == 3
    assert f"{len(before)} under {old.alignment_config().digest}" in err


async def ended(process: ServiceProcess) -> bool | None:
    return not process.child.running or None


async def keep_sending(settings: Settings) -> None:
    while True:
        await send(settings, int(time.time()) * 1_000_000, 1)


async def test_windows_of_settings_that_no_aligner_recorded_stop_an_aligner_until_they_are_migrated(
    stack: LocalStack, aligner: Callable[[Mapping[str, str]], ServiceProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {
        "BRAID_TOPICS__PREFIX": "unrecorded",
        "BRAID_TOPICS__PARTITIONS": "1",
        "BRAID_KAFKA__GROUP_PREFIX": "unrecorded",
    }
    here = {**stack.environment(), **own}
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    settings = load()
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.create_missing_topics(admin, settings)
    start_us = (int(time.time()) - 60) * 1_000_000
    streams = {m: WindowMembers("absent", "end", start_us, ()) for m in settings.alignment.modalities}
    former = Window(SESSION, start_us, start_us + 2_000_000, None, True, "0123456789ab", streams, start_us, start_us)
    async with clients.producer(settings.kafka) as producer:
        # A record that is not read yet makes the aligner read the windows before it.
        await producer.send_and_wait(settings.topic_names().media("text"), b"", key=b"x", partition=0)
        await producer.send_and_wait(
            settings.topic_names().windows, encode(former), key=SESSION.encode(), partition=0, headers=[]
        )
    rejected = aligner(own)
    await wait_until(lambda: ended(rejected), "the aligner to reject the settings")
    assert "0123456789ab" in rejected.child.log_tail()
    assert rejected.child.exit_code == 2

    code, out, err = await braid(here, "migrate-settings", "--json")
    assert code == 0, err
    digest = settings.alignment_config().digest
    assert json.loads(out) == {"from": "0123456789ab", "sessions": 1, "to": digest}
    assert "0123456789ab are not recorded" in err
    assert json.loads((await braid(here, "migrate-settings", "--json"))[1])["from"] is None

    await aligner(own).wait_until_ready()
    await send(settings, start_us)

    async def continued() -> list[Window] | None:
        return [window for window in await finals(settings) if window.config == digest] or None

    assert min(window.start_us for window in await wait_until(continued, "windows of these settings")) > start_us
