"""The local stack: servers start, are killed, restart, and leave no processes behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from services.kafka import clients, topic_admin
from services.local.ports import free_ports
from services.local.process import ChildProcess, StartError
from services.local.redis import LocalRedis
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load
from tests.waiting import DEADLINE_S, wait_until

OWNER = """
import asyncio, pathlib, sys
from services.local.stack import LocalStack
from services.runtime.settings import load
async def main():
    async with LocalStack(pathlib.Path(sys.argv[1]), load()) as stack:
        print(stack.broker.child.pid, stack.redis.child.pid, flush=True)
        await asyncio.Event().wait()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""


async def start_owner(folder: Path) -> tuple[asyncio.subprocess.Process, list[int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)
    return process, [int(pid) for pid in line.split()]


async def all_ended(pids: list[int]) -> bool | None:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids) or None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
async def test_kafka_and_redis_end_with_their_owner(number: signal.Signals, tmp_path: Path) -> None:
    process, pids = await start_owner(tmp_path)
    assert len(pids) == 2
    assert all(psutil.pid_exists(pid) for pid in pids)
    os.kill(process.pid, number)
    await process.wait()
    await wait_until(lambda: all_ended(pids), "broker and Redis to end")


async def test_a_restarted_stack_still_has_its_topics(tmp_path: Path) -> None:
    for made in (10, 0):
        async with LocalStack(tmp_path, load()) as again, clients.admin(again.bootstrap_servers) as admin:
            assert len(await topic_admin.create_missing_topics(admin, again.settings())) == made


async def test_a_killed_redis_restarts_on_its_port(tmp_path: Path) -> None:
    redis = LocalRedis(tmp_path)
    await redis.start()
    url = redis.url
    redis.child.kill()
    await redis.start()
    assert redis.url == url
    await redis.child.stop()


async def test_only_the_process_with_the_recorded_pid_and_start_time_is_killed(tmp_path: Path) -> None:
    first = ChildProcess("sleeper", tmp_path)
    first.start([sys.executable, "-c", "import time; time.sleep(600)"])
    again = ChildProcess("sleeper", tmp_path)
    again.kill_leftover()
    await wait_until(lambda: all_ended([first.pid or 0]), "the leftover to end")
    stranger = ChildProcess("stranger", tmp_path)
    stranger.start([sys.executable, "-c", "import time; time.sleep(600)"])
    (tmp_path / "sleeper.pid").write_text(f"{stranger.pid} 1.0")  # the pid now belongs to another process
    again.kill_leftover()
    assert stranger.running
    stranger.kill()


async def test_a_server_that_cannot_start_reports_why(tmp_path: Path) -> None:
    redis = LocalRedis(tmp_path)
    (tmp_path / "file").write_text("")
    redis._folder = tmp_path / "file"  # not a folder
    with pytest.raises(StartError, match="redis ended with code"):
        await redis.start()


async def test_topics_are_created_once_and_checked(stack: LocalStack, settings: Settings) -> None:
    async with clients.admin(stack.bootstrap_servers) as admin:
        assert await topic_admin.create_missing_topics(admin, settings) == []
        assert await topic_admin.check_topics(admin, settings) == []
        other = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 3})})
        troubles = await topic_admin.check_topics(admin, other)
    assert {t.what for t in troubles} == {"has 8 partitions, 3 are set"}
    assert all("topics.partitions" in t.repair for t in troubles)


async def test_a_topic_that_cannot_hold_the_largest_window_is_refused_with_the_remedy(
    stack: LocalStack, settings: Settings
) -> None:
    check = topic_admin.check_record_limits
    await check(settings.kafka, settings.topic_names(), settings.alignment.window_bytes_max)
    with pytest.raises(topic_admin.RecordLimitError, match=r"alignment.window_bytes_max is 2000000"):
        await check(settings.kafka, settings.topic_names(), 2_000_000)


async def test_changed_settings_are_found_and_applied_to_topics_and_what_else_is_set_stays(
    stack: LocalStack, settings: Settings
) -> None:
    base = {"prefix": f"{settings.topics.prefix}-changed", "partitions": 1}
    before = settings.model_copy(update={"topics": settings.topics.model_copy(update=base)})
    longer = {"media_retention_min": 90, "retention_mb": 2}
    after = settings.model_copy(update={"topics": before.topics.model_copy(update=longer)})
    more = {"replication_factor": 3, "min_insync_replicas": 2}
    replicated = settings.model_copy(update={"topics": before.topics.model_copy(update=more)})
    windows = before.topic_names().windows
    own = topic_admin.ConfigChange(windows, "segment.bytes", "", "1048576")
    async with clients.admin(stack.bootstrap_servers) as admin:
        names = await topic_admin.create_missing_topics(admin, before)
        try:
            await topic_admin.apply_changes(admin, [own])
            assert await topic_admin.config_changes(admin, before) == []
            changes = await topic_admin.config_changes(admin, after)
            found = {(c.topic, c.name, c.before, c.after) for c in changes}
            assert (windows, "retention.ms", "3600000", "5400000") in found
            assert (before.topic_names().predictions, "retention.bytes", "-1", "2000000") in found
            assert {p.repair for p in await topic_admin.check_topics(admin, after)} == {"braid topics apply"}
            await topic_admin.apply_changes(admin, changes)
            assert await topic_admin.check_topics(admin, after) == []
            assert (await topic_admin._configs(admin, [windows]))[windows]["segment.bytes"].value == "1048576"
            problems = await topic_admin.check_topics(admin, replicated)
            assert {p.what.partition(",")[0] for p in problems} >= {"has 1 replicas of each partition"}
            # With fewer replicas than that nothing could be written any more.
            assert "min.insync.replicas" not in {c.name for c in await topic_admin.config_changes(admin, replicated)}
        finally:
            await admin.delete_topics(names)


async def test_the_read_only_verbs_work_on_a_live_stack(stack: LocalStack, services: dict[str, ServiceProcess]) -> None:
    braid, known = str(Path(sys.executable).parent / "braid"), {"BRAID_DEVICES": '{"attic": {"session": "attic"}}'}
    for words in (["topics", "check"], ["doctor", "--json"], ["devices", "--json"], ["config", "show", "--json"]):
        process = await asyncio.create_subprocess_exec(
            braid, *words, env={**os.environ, **stack.environment(), **known}, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out
        if words[0] == "devices":
            devices = json.loads(out)
            assert devices["not_heard"] == ["attic"]
            assert all(d["last_seen_s"] < 600 for d in devices["devices"])


@pytest.mark.parametrize(
    ("line", "code"), [("doctor", 1), ("forget nobody", 1), ("topics check", 0), ("mute nobody", 0)]
)
async def test_verb_without_redis_ends_with_a_code_and_at_most_three_lines(
    line: str, code: int, stack: LocalStack, tmp_path: Path
) -> None:
    dead = {"BRAID_REDIS__URL": f"redis://127.0.0.1:{free_ports(1)[0]}/0", "BRAID_LABELS__FOLDER": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "braid"),
        *line.split(),
        env={**os.environ, **stack.environment(), **dead, "BRAID_ARCHIVE__FOLDER": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, printed = await process.communicate()
    assert process.returncode == code, printed
    assert len(printed.splitlines()) <= 3
