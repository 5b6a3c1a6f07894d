"""Every command of the README and of docs/ is run as it stands, in a fresh copy of the repository."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Context
from typer.main import get_command

from services.cli.main import app
from services.runtime.settings import ROOT, load
from tests.integration.documents.blocks import SHELL, Command, blocks, commands, lines, pages, spans
from tests.integration.documents.expected import BY_ANOTHER_TEST, ELSEWHERE, ONLY_IN_FULL, SAYS, STAYS
from tests.integration.documents.home import Home
from tests.integration.documents.readings import cut, written
from tests.integration.mosquitto import Mosquitto
from tests.integration.wait import until

SHORT, LONG = commands(long=False), [c for c in commands(long=True) if c.line not in BY_ANOTHER_TEST | ONLY_IN_FULL]
PAGES = list(dict.fromkeys(c.block.page for c in SHORT))
PREDICTION = re.compile(r"kitchen/1700000000000/1@0123456789ab")


@pytest.fixture(scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """A fresh copy with Braid up in it, as the README's first five minutes have it, and an MQTT broker."""
    mosquitto = await Mosquitto(tmp_path_factory.mktemp("mosquitto")).start()
    found = Home(tmp_path_factory.mktemp("clone"), mosquitto.port)
    written(found.folder)
    await found.run("make setup")
    (line,) = [c.line for c in SHORT if c.block.page == "README.md" and c.line.endswith("braid up")]
    said = await found.up(line)
    found.done.add(line)
    assert re.search(rf"live page: http://127\.0\.0\.1:{found.port}/", said)
    yield found
    await found.down()
    await mosquitto.child.stop()


async def get(home: Home, path: str) -> Any:
    address = f"http://127.0.0.1:{home.port}/api/v1/{path}"
    return json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(address, timeout=10).read()))


async def test_in_the_first_five_minutes_a_jpeg_and_a_wav_become_an_event_on_the_page_and_in_mosquitto(
    home: Home,
) -> None:
    section = (ROOT / "README.md").read_text().split("## First five minutes")[1].split("\n## ")[0]
    assert len(section.split()) < 5 * 200, "nobody reads that in five minutes"
    here = [c for c in SHORT if c.block.page == "README.md" and c.line in section]
    posts = [c.line for c in here if "--data-binary" in c.line]
    (subscribe,) = [c.line for c in here if c.line.startswith("mosquitto_sub")]
    listening = asyncio.create_task(home.hear(subscribe, STAYS["mosquitto_sub"]))
    (stream,) = [c.line for c in here if c.line.startswith("curl -N")]
    streaming = asyncio.create_task(home.hear(stream, STAYS["curl -N"]))
    assert len([await home.run(line) for line in posts]) == 2

    async def event() -> dict[str, Any] | None:
        found = [s for s in (await get(home, "sessions"))["sessions"] if s["id"] == "kitchen"]
        return found[0]["event"] if found else None

    assert (await until(event, "the event on the page's API"))["label"] == "7"
    home.done |= {*posts, subscribe, stream}
    assert '"7"' in await listening
    assert '"7"' in await streaming


@pytest.mark.parametrize("page", PAGES)
async def test_every_command_of_a_page_does_what_the_page_says(page: str, home: Home) -> None:
    for command in [c for c in SHORT if c.block.page == page and c.line not in home.done]:
        await _done(home, command)
        home.done.add(command.line)


async def _done(home: Home, command: Command) -> None:
    line = command.line
    if PREDICTION.search(line):
        line = PREDICTION.sub(await _a_prediction(home), line)
    sign = next((sign for part, sign in STAYS.items() if part in line), None)
    if sign is not None:
        await home.hear(line, sign)
    else:
        said = await home.run(line, command.block.sizes)
        for part, wanted in SAYS.items():
            if part in line:
                assert re.search(wanted, said), f"`{line}` said no {wanted!r}:\n{said}"


async def _a_prediction(home: Home) -> str:
    async def final() -> str | None:
        answers = [s["answer"] for s in (await get(home, "sessions"))["sessions"] if s["id"] == "kitchen"]
        return answers[0]["id"] if answers and answers[0]["final"] else None

    return await until(final, "a final prediction of the kitchen")


@pytest.mark.parametrize("command", LONG, ids=lambda command: command.line)
async def test_what_takes_long_runs_at_its_smallest_real_size(command: Command, home: Home) -> None:
    cut(home.folder, int(command.block.sizes.get("ROWS", "0")))
    said = await home.run(command.sized(), command.block.sizes)
    for part, wanted in SAYS.items():
        if part in command.line:
            assert re.search(wanted, said), f"`{command.line}` said no {wanted!r}:\n{said}"


def test_what_another_test_runs_stands_there_as_it_stands_on_the_page() -> None:
    told = {c.line for c in commands(long=True)}
    for line, path in BY_ANOTHER_TEST.items():
        assert line in told
        assert line in (ROOT / path).read_text(), f"{path} runs another command than `{line}`"


def test_what_runs_elsewhere_is_what_is_excused_and_no_more() -> None:
    found = [line for page in pages() for b in blocks(page) if b.elsewhere for line in lines(b.text)]
    assert sorted(found) == sorted(ELSEWHERE)


def test_every_block_is_of_a_kind_that_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in pages():
        for block in blocks(page):
            assert block.language in (*SHELL, "json", "yaml", "python", ""), (block.page, block.language)
            assert block.page == "README.md" or block.language != "python", "tests/unit/test_readme.py knows none"
            if block.language == "json":
                assert [json.loads(line) for line in block.text.splitlines()]
            elif block.language == "yaml":
                monkeypatch.chdir(tmp_path)
                (tmp_path / "braid.yaml").write_text(block.text)
                assert yaml.safe_load(block.text).keys() <= load().model_dump().keys()


def test_every_command_that_is_named_in_passing_exists_with_its_options() -> None:
    count = 0
    for page in pages():
        for span in spans(page):
            verb, *words = span.split()
            if verb == "make" and words:
                assert re.search(rf"^{re.escape(words[0])}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (
                    page,
                    span,
                )
            elif verb in ("braid", ".venv/bin/braid") and words:
                _known(span, words)
                count += 1
    assert count > 30


def _known(span: str, words: list[str]) -> None:
    command: Any = get_command(app)
    context = Context(command)
    while words and not words[0].startswith("-") and hasattr(command, "commands") and "|" not in words[0]:
        if words[0] == "VERB":
            return
        assert words[0] in command.commands, f"`{span}`: no verb {words[0]}"
        command = command.commands[words.pop(0)]
        context = Context(command, parent=context)
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for word in words:
        option = word.strip("[]").partition("=")[0]
        assert not option.startswith("--") or option in options, f"`{span}`: no option {option}"
