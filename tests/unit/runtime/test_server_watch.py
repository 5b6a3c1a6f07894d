"""Checks of the servers that a service needs, and what /readyz says of them."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from services.runtime import server_watch as module
from services.runtime.health import HealthServer, Progress
from services.runtime.server_watch import Dependency, DependencyWatch, watch
from tests.waiting import wait_until


class Server:
    """A server that answers, or not; `asked` counts the checks."""

    def __init__(self, answers: bool) -> None:
        self.answers, self.asked = answers, 0

    async def check(self) -> None:
        self.asked += 1
        if not self.answers:
            raise ConnectionRefusedError


def readyz(health: HealthServer) -> tuple[int, dict[str, dict[str, str]]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{health.port}/readyz") as response:
            return 200, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_EVERY_S", 0.001)


@pytest.mark.parametrize(("essential", "status", "where"), [(True, 503, "not_ready"), (False, 200, "degraded")])
async def test_readiness_names_a_server_that_does_not_answer_until_it_answers_again(
    essential: bool, status: int, where: str
) -> None:
    server, progress = Server(answers=False), Progress(60)
    progress.not_ready.clear()
    health = HealthServer("127.0.0.1", 0, "s", progress, CollectorRegistry())
    task = asyncio.create_task(watch(Dependency("redis", server.check, "it is away", essential), progress))

    async def reported() -> bool | None:
        return (
            await asyncio.to_thread(readyz, health)
            == (
                status,
                {"not_ready": {}, "degraded": {}} | {where: {"redis": "it is away"}},
            )
            or None
        )

    async def ready() -> bool | None:
        return await asyncio.to_thread(readyz, health) == (200, {"not_ready": {}, "degraded": {}}) or None

    await wait_until(reported, "the server to be reported")
    server.answers = True
    await wait_until(ready, "the server to be ready again")
    task.cancel()
    health.close()


async def test_one_failed_check_is_no_outage() -> None:
    server, progress, seen = Server(answers=False), Progress(60), list[set[str]]()

    async def check() -> None:
        seen.append(set(progress.not_ready))
        server.answers = server.asked > 0
        await server.check()

    task = asyncio.create_task(watch(Dependency("broker", check, "away"), progress))

    async def asked_often() -> bool | None:
        return server.asked > 5 or None

    await wait_until(asked_often, "several checks")
    task.cancel()
    assert not any("broker" in reasons for reasons in seen)


async def test_waiting_for_an_essential_server_is_no_stall() -> None:
    server, progress = Server(answers=False), Progress(0)
    beats: list[int] = []
    progress.beat = lambda: beats.append(1)  # type: ignore[method-assign]
    task = asyncio.create_task(watch(Dependency("broker", server.check, "away"), progress))

    async def beaten() -> bool | None:
        return bool(beats) or None

    await wait_until(beaten, "a beat")
    task.cancel()


async def test_checks_run_beside_a_main_loop_that_is_blocked() -> None:
    server, progress = Server(answers=False), Progress(60)
    watching = DependencyWatch([Dependency("broker", server.check, "away")], progress)
    while "broker" not in progress.not_ready:  # Never gives way to the event loop of this test.
        pass
    watching.stop()
