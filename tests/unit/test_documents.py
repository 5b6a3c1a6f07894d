"""What README, CONTRIBUTING and docs/ name exists: files, commands, options, settings, metrics, topics, tests."""

from __future__ import annotations

import json
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Context
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from typer.main import get_command

from services.cli.main import app
from services.runtime.health import HealthServer, Progress
from services.runtime.metric_definitions import (
    AlignerMetrics,
    FusionMetrics,
    GatewayMetrics,
    MqttMetrics,
    WyomingMetrics,
    make_registry,
)
from services.runtime.settings import ROOT, Settings, load
from tests.integration.documents.blocks import SHELL, blocks, code_spans, pages, prose

README = ROOT / "README.md"
RECIPES = ROOT / "docs" / "recipes.md"
ALL = [*pages(), RECIPES, ROOT / "CHANGELOG.md"]
TREES = ("services", "model", "research", "tests", "benchmarks", "deploy", "docs", "data", "models", "examples")
FILE = re.compile(r"\.(py|md|json|jsonl|yaml|yml|toml|js|mcap|jpg|wav|crt|key|env)$")
VARIABLES = {"BRAID_TRAIN_EPOCHS", "BRAID_COMPRESS_EPOCHS"}


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if path.startswith("https://"):
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in _anchors(linked), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_linked_from_the_readme_or_the_index_of_its_folder() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        folder = page.parent
        index = README if folder.name == "docs" else folder / "README.md"
        if folder.name == "results" or page == index:
            continue
        assert f"({page.relative_to(index.parent)})" in index.read_text(), page


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) < 150


def test_the_examples_are_on_the_first_page_as_they_run() -> None:
    shown = [block.text for block in blocks(ROOT / "docs" / "start.md") if block.language == "python"]
    assert shown == [(ROOT / "examples" / name).read_text() for name in ("send.py", "read.py")]


def test_the_page_of_commands_lists_every_command() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    command: Any = get_command(app)
    assert sorted(listed) == sorted(name for name, one in command.commands.items() if not one.hidden)


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_the_text_exists_with_its_options(page: Path) -> None:
    for span in code_spans(page):
        program, *words = span.split()
        if program == "make" and words and page.name != "CHANGELOG.md":
            assert re.search(rf"^{re.escape(words[0])}:", (ROOT / "Makefile").read_text(), re.MULTILINE), span
        elif program in ("braid", ".venv/bin/braid") and words and page.name != "CHANGELOG.md":
            _check_command(span, words)


def _check_command(span: str, words: list[str]) -> None:
    command: Any = get_command(app)
    context = Context(command)
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        if words[0] == "COMMAND":
            return
        assert words[0] in command.commands, f"`{span}`: no command {words[0]}"
        command = command.commands[words.pop(0)]
        context = Context(command, parent=context)
    options = {name for parameter in command.get_params(context) for name in parameter.opts}
    for word in words:
        option = word.strip("[]").partition("=")[0]
        assert not option.startswith("--") or option in options, f"`{span}`: no option {option}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_in_the_text_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"\bBRAID_[A-Z0-9_]*__[A-Z0-9_]+", text)):
        assert _is_setting(name.removeprefix("BRAID_").lower().split("__")), name
    for span in code_spans(page):
        match = re.match(r"([a-z_]+(?:\.(?:[a-z_0-9]+|<name>))+)(?![\w(])", span)
        if match and match[1].partition(".")[0] in Settings.model_fields and not FILE.search(match[1]):
            assert _is_setting(match[1].split(".")), span


def _is_setting(path: list[str]) -> bool:
    """Follow a path through the sections; a table with free keys (alignment.modalities) accepts any key."""
    kind: Any = Settings
    for name in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if name not in kind.model_fields:
                return False
            kind = kind.model_fields[name].annotation
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        else:
            return False
    return True


def test_a_setting_that_does_not_exist_is_found() -> None:
    assert _is_setting(["alignment", "modalities", "text", "lateness_ms"])
    assert not _is_setting(["alignment", "modalities", "text", "latenes_ms"])


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_metric_in_the_text_exists(page: Path) -> None:
    named = {match[1] for span in code_spans(page) if (match := re.match(r"(braid_[a-z_]+)(?:\{[a-z,_]+\})?$", span))}
    assert named <= _metrics() | {"braid_inside", "braid_say"}


def _metrics() -> set[str]:
    registries = [make_registry("aligner")]
    for make in (AlignerMetrics, FusionMetrics, GatewayMetrics, MqttMetrics, WyomingMetrics):
        registries.append(CollectorRegistry())
        make(registries[-1])
    registries.append(CollectorRegistry())
    HealthServer("127.0.0.1", 0, "aligner", Progress(60), registries[-1]).close()
    return {name for registry in registries for names in registry._collector_to_names.values() for name in names}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_repository_in_the_text_exists(page: Path) -> None:
    for span in code_spans(page):
        match = re.match(r"([\w./-]+)$", span)
        if (
            match
            and "/" in span
            and span.split("/")[0] in TREES
            and not span.startswith(("models/hall", "models/mine", "models/encoders"))
        ):
            assert (ROOT / span).exists() or span in {"models/several/1", "models/private/1"}, span


def test_every_topic_in_the_text_exists() -> None:
    topics = Settings(_env_file=None).topic_names()
    known = {topic.name for topic in topics.definitions()} | {"braid.media.sensor.v1"}
    # Types of records that are not topics.
    known |= {"braid.alive.v1", "braid.session.end.v1", "braid.tick.v1", "braid.window.v1"}
    for page in ALL:
        assert set(re.findall(r"\bbraid\.[a-z.]+\.v1\b", page.read_text())) <= known, page


def test_every_rule_of_alignment_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "alignment.md").read_text()
    rows = dict(re.findall(r"^\| ([AR][0-9]+) [^|]*\| (.*) \|$", page, re.MULTILINE))
    assert list(rows) == [*(f"A{n}" for n in range(1, 18)), *(f"R{n}" for n in range(1, 6))]
    for rule, tests in rows.items():
        links = re.findall(r"\[`(test_[a-z_0-9]+)`\]\(\.\./([^)]+)\)", tests)
        assert len(links) == tests.count("`") // 2 > 0, rule
        for name, path in links:
            assert f"def {name}(" in (ROOT / path).read_text(), (rule, name)
        assert re.search(rf"^\*\*[^*]*\b{rule}[.,]", page, re.MULTILINE), f"{rule} is not explained"


def test_every_block_has_a_language_that_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for page in pages():
        for block in blocks(page):
            assert block.language in (*SHELL, "json", "yaml", "toml", "python", ""), (block.page, block.language)
            assert block.language != "python" or block.page in ("docs/start.md", "docs/extend.md")
            if block.language == "json":
                assert [json.loads(line) for line in block.text.splitlines()]
            elif block.language == "toml":
                assert tomllib.loads(block.text)
            elif block.language == "yaml":
                (tmp_path / "braid.yaml").write_text(block.text)
                assert yaml.safe_load(block.text).keys() <= load().model_dump().keys()
