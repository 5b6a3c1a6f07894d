"""The demo as a user runs it, but shorter: to its end, and with a service killed in the middle."""

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
from services.runtime.settings import ROOT
from tests.integration.outside_make import environment_outside_make
from tests.waiting import DEADLINE_S

BRAID = Path(sys.executable).parent / "braid"
SHORT = {"FROM": "34", "SECONDS": "14", "SPEED": "2", "STREAM": "S01 S05"}


def demo_environment(stack: LocalStack, **changed: str) -> dict[str, str]:
    """Return an environment in which the commands of the README run a short demo."""
    sizes = {f"BRAID_DEMO_{name}": value for name, value in {**SHORT, **changed}.items()}
    return {**environment_outside_make(), **stack.environment(), **sizes}


async def run_demo(stack: LocalStack, line: str) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of a demo."""
    process = await asyncio.create_subprocess_shell(
        line, cwd=ROOT, env=demo_environment(stack), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_demo_passes_and_reports_its_checks(stack: LocalStack) -> None:
    code, report, output = await run_demo(stack, "make demo")
    assert code == 0, output
    (sent,) = re.findall(r"^2 streams, (\d+) chunks sent", report, re.MULTILINE)
    admitted, fates = re.findall(r"^fates +(\d+) chunks = (.*) \(one fate each\)$", report, re.MULTILINE)[0]
    assert int(admitted) == int(sent) == sum(int(fate.split()[0]) for fate in fates.split(", ")) > 50
    assert "0 pending" in fates
    windows, wrong, early = re.findall(
        r"^windows +(\d+) final, (\d+) differ .*; (\d+) predicted early", report, re.MULTILINE
    )[0]
    assert (int(wrong), int(windows) > 50, int(early) > 30) == (0, True, True)
    assert f"predicted  {windows} windows; {windows} computed again, byte for byte" in report
    assert "early predictions" in output
    assert re.search(r"live page: http://127\.0\.0\.1:\d+/", output)


KILLS = ['make demo ARGS="--json --kill aligner"', 'make demo ARGS="--json --kill fusion"']


@pytest.mark.parametrize("line", KILLS, ids=["aligner", "fusion"])
async def test_results_are_the_same_after_a_service_is_killed(line: str, stack: LocalStack) -> None:
    code, out, output = await run_demo(stack, line)
    assert code == 0, f"{output}\n{out}"
    report: dict[str, Any] = json.loads(out)
    books = report["books"]
    assert books["admitted"] == report["chunks_sent"] > 50
    assert books["admitted"] == sum(books[fate] for fate in ("windowed", "late", "duplicate", "dead", "pending"))
    assert books["pending"] == 0
    assert report["killed"]["windows_open"] > 0
    assert report["books_balance"]
    assert report["windows_wrong"] == 0
    assert report["troubles"] == []
    assert report["predictions"] == report["windows"] == report["predictions_checked"] > 50
    assert report["latency_ms"]["own"]["p99"] > 0
    assert report["exit_codes"] == {"aligner": 0, "fusion": 0, "gateway": 0}


async def test_with_stay_the_services_run_until_interrupted(stack: LocalStack) -> None:
    process = await asyncio.create_subprocess_shell(
        "make demo ARGS=--stay",
        cwd=ROOT,
        env=demo_environment(stack, SECONDS="4", STREAM="S01"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        output = ""
        async with asyncio.timeout(DEADLINE_S):
            while "everything stays up" not in output:
                line = (await process.stderr.readline()).decode()
                assert line, f"the demo ended: {output}"
                output += line
        url = output.rpartition("live page: ")[2].strip()
        with await asyncio.to_thread(urllib.request.urlopen, f"{url}api/v1/sessions") as response:
            sessions = [session["id"] for session in json.loads(response.read())["sessions"]]
        # All tests share the broker: other sessions may be live.
        assert [session for session in sessions if session.startswith("S01-")], sessions
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to make and its children
        out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        assert b"one fate each" in out
        assert b"Traceback" not in err
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)


async def test_an_unknown_recording_is_reported_with_the_known_ones(stack: LocalStack) -> None:
    process = await asyncio.create_subprocess_exec(
        str(BRAID), "demo", "--stream", "S99", stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"S01" in err
