"""Processes that end or hang are started again, and the reason is reported."""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
from pathlib import Path

import pytest

from services.local import kafka, supervision
from services.local.process import ChildProcess, StartError
from services.local.redis import LocalRedis
from tests.waiting import wait_until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


async def no_check() -> None:
    """Answer always."""


async def test_killed_process_is_started_again_and_the_signal_is_reported(tmp_path: Path) -> None:
    child, reports = ChildProcess("sleeper", tmp_path), list[str]()

    async def start() -> None:
        child.start(SLEEP)

    child.start(SLEEP)
    first = child.pid
    watching = asyncio.create_task(supervision.keep_running("sleeper", child, start, no_check, reports.append))
    child.signal(9)

    async def runs_again() -> bool | None:
        return "sleeper runs again" in reports or None

    await wait_until(runs_again, "the process to run again")
    watching.cancel()
    assert child.running
    assert child.pid != first
    assert "SIGKILL" in reports[0]
    child.kill()


async def test_redis_that_hangs_is_killed_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "CHECK_EVERY_S", 0.05)
    redis, reports = LocalRedis(tmp_path), list[str]()
    await redis.start()
    watching = asyncio.create_task(
        supervision.keep_running("redis", redis.child, redis.start, redis.check, reports.append)
    )
    redis.child.signal(signal.SIGSTOP)

    async def runs_again() -> bool | None:
        return "redis runs again" in reports or None

    await wait_until(runs_again, "Redis to run again")
    await redis.check()
    assert reports[0] == "redis runs but has not answered 3 checks: it is killed"
    watching.cancel()
    redis.child.kill()


async def test_process_that_cannot_start_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "PAUSE_MAX_S", 0.0)
    child, reports = ChildProcess("broken", tmp_path), list[str]()
    failures = [StartError("No port."), OSError(errno.ENOSPC, "No space left on device"), None]

    async def start() -> None:
        failure = failures.pop(0)
        if failure is not None:
            raise failure
        child.start(SLEEP)

    child.start([sys.executable, "-c", 'print("no room"); raise SystemExit(3)'])
    watching = asyncio.create_task(supervision.keep_running("broken", child, start, no_check, reports.append))

    async def runs_again() -> bool | None:
        return "broken runs again" in reports or None

    await wait_until(runs_again, "the process to run again")
    watching.cancel()
    assert reports[0] == "broken ended with code 3 (no room); it is started again"
    assert reports[1] == "No port."
    assert "broken cannot be started: [Errno 28] No space left on device" in reports
    child.kill()


async def test_kafka_is_not_started_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "FREE_BYTES_MIN", 1 << 60)
    broker = kafka.LocalKafka(tmp_path)
    with pytest.raises(StartError, match="Kafka is not started"):
        await broker.start()
    assert broker.child.pid is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            '{"level": "critical", "message": "cannot go on", "error": "Traceback\\nKeyError: 7"}\n',
            "cannot go on: KeyError: 7",
        ),
        ('{"level": "error", "message": "no broker"}\n{"level": "info", "message": "bye"}\n', "no broker"),
        ("Segmentation fault\n", "Segmentation fault"),
    ],
)
async def test_reason_of_an_exit_is_the_newest_error_of_the_log(log: str, reason: str, tmp_path: Path) -> None:
    child = ChildProcess("service", tmp_path)
    child.start([sys.executable, "-c", f"print({log!r}, end=''); raise SystemExit(1)"])
    await child.wait()
    assert child.end_reason() == f"ended with code 1 ({reason})"
