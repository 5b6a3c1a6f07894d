"""The demo as a user runs it, shortened: whole, and with a service killed in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from services.local.stack import LocalStack

BRAID = Path(sys.executable).parent / "braid"
SHORT = ["--from", "34", "--seconds", "14", "--speed", "2", "--stream", "S01", "--stream", "S05"]


async def demo(stack: LocalStack, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON object and what a person would have seen."""
    process = await asyncio.create_subprocess_exec(
        str(BRAID),
        "demo",
        "--json",
        *SHORT,
        *arguments,
        env={**os.environ, **stack.environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 150)
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out.strip() else {}, err.decode()


async def test_the_demo_keeps_every_promise_and_says_so(stack: LocalStack) -> None:
    code, told, seen = await demo(stack)
    assert code == 0, seen
    books = told["books"]
    assert books["admitted"] == told["chunks_sent"] > 50
    assert books["admitted"] == sum(books[fate] for fate in ("windowed", "late", "duplicate", "dead", "pending"))
    assert books["pending"] == 0
    assert told["windows_wrong"] == 0
    assert told["predictions"] == told["windows"] == told["predictions_checked"] > 50
    assert told["windows_early"] > 30
    assert told["latency_ms"]["own"]["p99"] > 0
    assert told["exit_codes"] == {"aligner": 0, "fusion": 0, "gateway": 0}
    assert "first answers" in seen
    assert re.search(r"live page: http://127\.0\.0\.1:\d+/", seen)


@pytest.mark.parametrize("victim", ["aligner", "fusion"])
async def test_a_service_killed_in_the_middle_changes_no_byte(victim: str, stack: LocalStack) -> None:
    code, told, seen = await demo(stack, "--kill", victim)
    assert code == 0, f"{seen}\n{told}"
    assert told["killed"]["windows_open"] > 0
    assert told["books_balance"]
    assert told["windows_wrong"] == 0
    assert told["troubles"] == []
    assert told["predictions_checked"] == told["windows"]


async def test_with_stay_everything_is_up_after_the_run_until_ctrl_c(stack: LocalStack) -> None:
    process = await asyncio.create_subprocess_exec(
        str(BRAID),
        "demo",
        "--stay",
        *("--from", "34", "--seconds", "4", "--speed", "2", "--stream", "S01"),
        env={**os.environ, **stack.environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        seen = ""
        async with asyncio.timeout(120):
            while "everything stays up" not in seen:
                line = (await process.stderr.readline()).decode()
                assert line, f"the demo ended: {seen}"
                seen += line
        url = seen.rpartition("live page: ")[2].strip()
        with await asyncio.to_thread(urllib.request.urlopen, f"{url}api/v1/sessions") as answer:
            sessions = [session["id"] for session in json.loads(answer.read())["sessions"]]
        # The broker is that of all tests: others may still be talking.
        assert [session for session in sessions if session.startswith("S01-")], sessions
        process.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        assert b"they balance" in out
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_stream_that_does_not_exist_is_refused_with_what_there_is(stack: LocalStack) -> None:
    process = await asyncio.create_subprocess_exec(
        str(BRAID), "demo", "--stream", "S99", stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"S01" in err
