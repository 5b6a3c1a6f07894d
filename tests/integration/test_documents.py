"""Every command of README, CONTRIBUTING and docs/ runs as written in a fresh clone of the repository."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.runtime.settings import ROOT
from tests.integration.documents.blocks import Command, blocks, commands, lines, pages
from tests.integration.documents.clone import Clone
from tests.integration.documents.expected import BY_ANOTHER_TEST, ELSEWHERE, ONLY_IN_FULL, OUTPUT, UNTIL_INTERRUPTED
from tests.integration.mosquitto import Mosquitto
from tests.waiting import DEADLINE_S, wait_until

SHORT, LONG = commands(long=False), [c for c in commands(long=True) if c.line not in BY_ANOTHER_TEST | ONLY_IN_FULL]
PAGES = list(dict.fromkeys(c.block.page for c in SHORT))
PREDICTION_ID = re.compile(r"kitchen/1700000000000/1@0123456789ab")
# `braid up` with every service, of docs/home-assistant.md: more than the `braid up` of the other pages starts.
UP = "BRAID_MQTT__HOST=127.0.0.1 .venv/bin/braid up"


@pytest.fixture(scope="module")
async def clone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Clone]:
    """A clone in which Braid is up, with an MQTT broker."""
    mosquitto = await Mosquitto(tmp_path_factory.mktemp("mosquitto")).start()
    clone = Clone(tmp_path_factory.mktemp("clone"), mosquitto.port)
    await clone.run("make setup")
    started = {command.line for command in SHORT if command.line.endswith("braid up")}
    assert UP in started
    output = await clone.up(UP)
    clone.done |= started
    assert re.search(rf"live page: http://127\.0\.0\.1:{clone.port}/", output)
    yield clone
    await clone.down()
    await mosquitto.child.stop()


async def get(clone: Clone, path: str) -> Any:
    address = f"http://127.0.0.1:{clone.port}/api/v1/{path}"
    return json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(address, timeout=DEADLINE_S).read()))


async def test_the_jpeg_and_wav_of_the_readme_become_an_event_on_the_page_in_the_stream_and_in_mqtt(
    clone: Clone,
) -> None:
    posts = [c.line for c in SHORT if c.block.page == "README.md" and "--data-binary" in c.line]
    (stream,) = [c.line for c in SHORT if c.line.startswith("curl -N")]
    (subscribe,) = [c.line for c in SHORT if c.line.startswith("mosquitto_sub")]
    receiving = [
        asyncio.create_task(clone.run_until(stream, UNTIL_INTERRUPTED["curl -N"])),
        asyncio.create_task(clone.run_until(subscribe, UNTIL_INTERRUPTED["mosquitto_sub"])),
    ]
    for line in posts:
        await clone.run(line)

    async def event() -> dict[str, Any] | None:
        sessions = [s for s in (await get(clone, "sessions"))["sessions"] if s["id"] == "kitchen"]
        return sessions[0]["event"] if sessions else None

    assert (await wait_until(event, "the event in the API"))["label"] == "7"
    assert all('"7"' in output for output in await asyncio.gather(*receiving))
    clone.done |= {*posts, stream, subscribe}


@pytest.mark.parametrize("page", PAGES)
async def test_every_command_of_a_page_prints_what_the_page_promises(page: str, clone: Clone) -> None:
    for command in [c for c in SHORT if c.block.page == page and c.line not in clone.done]:
        line = command.line
        if PREDICTION_ID.search(line):
            line = PREDICTION_ID.sub(await _prediction_id(clone), line)
        pattern = next((pattern for part, pattern in UNTIL_INTERRUPTED.items() if part in line), None)
        if pattern is not None:
            await clone.run_until(line, pattern)
        else:
            _check(line, await clone.run(line, command.block.sizes))
        clone.done.add(command.line)


def _check(line: str, output: str) -> None:
    for part, pattern in OUTPUT.items():
        if part in line:
            assert re.search(pattern, output), f"`{line}` did not print {pattern!r}:\n{output}"


async def _prediction_id(clone: Clone) -> str:
    async def final() -> str | None:
        predictions = [s["answer"] for s in (await get(clone, "sessions"))["sessions"] if s["id"] == "kitchen"]
        return predictions[0]["id"] if predictions and predictions[0]["final"] else None

    return await wait_until(final, "a final prediction of the kitchen")


@pytest.mark.parametrize("command", LONG, ids=lambda command: command.line)
async def test_a_long_command_runs_at_a_small_size(command: Command, clone: Clone) -> None:
    clone.shrink_tridigit(int(command.block.sizes.get("ROWS", "0")))
    _check(command.line, await clone.run(command.at_small_size(), command.block.sizes))


def test_a_command_that_another_test_runs_is_the_one_on_the_page() -> None:
    on_pages = {c.line for c in commands(long=True)}
    for line, path in BY_ANOTHER_TEST.items():
        assert line in on_pages
        assert line in (ROOT / path).read_text(), f"{path} runs another command than `{line}`"


def test_the_commands_that_cannot_run_here_are_the_listed_ones() -> None:
    elsewhere = [line for page in pages() for block in blocks(page) if block.elsewhere for line in lines(block.text)]
    assert sorted(elsewhere) == sorted(ELSEWHERE)
    assert {c.line for c in commands(long=True)} >= set(ONLY_IN_FULL)
