"""The recipes name existing topics, entities, commands, options, settings, ports and addresses."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from typer.main import get_command

from services.cli.main import app
from services.contract import cloudevents
from services.contract.alignment_config import AlignmentConfig
from services.gateway.ingest import build_chunk
from services.integrations.capture.source_address import network_stream
from services.integrations.mqtt import discovery
from services.integrations.mqtt.topics import MqttTopics
from services.runtime.device_directory import DeviceDirectory
from services.runtime.settings import ROOT, Settings

RECIPES = (ROOT / "docs" / "recipes.md").read_text()
TOPICS = Settings(_env_file=None).topic_names()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", RECIPES, re.DOTALL)


def yaml_blocks() -> dict[str, Any]:
    """Return every YAML block by its first key."""
    parsed = [yaml.safe_load(text) for text in blocks("yaml")]
    return {next(iter(block)): block for block in parsed}


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line]


def test_every_topic_exists() -> None:
    known = {*TOPICS.media_all, TOPICS.events, TOPICS.predictions, TOPICS.windows, TOPICS.late, TOPICS.dead}
    named = set(re.findall(r"braid\.[a-z.]+\.v1", RECIPES))
    assert named
    assert named <= known | {cloudevents.media_type(m) for m in TOPICS.modalities}


def test_variables_are_settings_and_ports_are_their_defaults() -> None:
    for name in set(re.findall(r"BRAID_[A-Z_]+", RECIPES)):
        section, _, field = name.removeprefix("BRAID_").lower().partition("__")
        assert field in type(getattr(Settings(_env_file=None), section)).model_fields, name
    settings = Settings(_env_file=None)
    assert f"port {settings.wyoming.port}" in RECIPES
    assert f"127.0.0.1:{settings.gateway.port}/" in RECIPES


def test_a_device_in_the_settings_has_the_name_of_its_sender() -> None:
    devices = yaml_blocks()["devices"]["devices"]
    assert Settings(_env_file=None, devices=devices).devices["porch-camera"].clock_offset_ms == -400
    sources = {words[words.index("--source") + 1] for words in commands() if "--source" in words}
    assert sources == set(devices)


def test_every_braid_command_exists_with_its_options() -> None:
    of_braid = [words for words in commands() if words[0] == "braid"]
    assert len(of_braid) == 2
    for _, verb, *rest in of_braid:
        options = {o for p in get_command(app).commands[verb].params for o in p.opts}  # type: ignore[attr-defined]
        assert {word for word in rest if word.startswith("-")} <= options
        assert network_stream(rest[0]) is not None


def test_every_entity_is_announced_to_home_assistant() -> None:
    announced = discovery.device(MqttTopics(), "kitchen", ["dog"], [("video", "x")], "image/jpeg", ["video"], 90, "0")
    entities = {component["default_entity_id"] for component in announced["components"].values()}
    named = set(re.findall(r"\b(?:event|sensor|image|binary_sensor)\.braid_\w+", RECIPES))
    assert len(named) == 3
    assert named <= entities
    (automation,) = yaml_blocks()["automation"]["automation"]
    assert {"triggers", "conditions", "actions"} < set(automation)
    assert automation["conditions"][0]["state"] in announced["components"]["event"]["event_types"]


def test_the_request_of_home_assistant_is_accepted() -> None:
    request = yaml_blocks()["rest_command"]["rest_command"]["braid_say"]
    assert request["url"].endswith("/api/v1/sessions/{{ session }}/text")
    assert request["method"] == "post"
    headers = {"content-type": request["content_type"], "ce-source": request["headers"]["ce-source"]}
    record = build_chunk("kitchen", "text", headers, b"hello", AlignmentConfig(), DeviceDirectory({}), now_us=0)
    assert not hasattr(record, "reason"), record


@pytest.mark.parametrize("name", ["streams", "go2rtc"])
def test_every_camera_that_is_read_is_restreamed(name: str) -> None:
    block = yaml_blocks()[name]
    streams = block["streams"] if name == "streams" else block["go2rtc"]["streams"]
    addresses = [words[2] for words in commands() if words[:2] == ["braid", "send"]]
    assert {address.rpartition("/")[2] for address in addresses} == set(streams)


def test_kcat_sends_the_required_headers_with_the_right_partitioner() -> None:
    words = next(words for words in commands() if words[:2] == ["kcat", "-P"])
    headers = dict(words[n + 1].split("=", 1) for n, word in enumerate(words) if word == "-H")
    assert set(headers) == {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"}
    assert headers["ce_type"] == words[words.index("-t") + 1] == TOPICS.media("video")
    assert words[words.index("-X") + 1] == "partitioner=murmur2_random"


def test_kafka_connect_reads_our_topic_and_writes_structured_mode() -> None:
    sink, source = (dict(line.split("=", 1) for line in text.splitlines()) for text in blocks("properties"))
    assert sink["topics"] == TOPICS.events
    assert source["transforms.structured.value.literal"] == cloudevents.STRUCTURED
