"""Settings: sources, former names, messages about mistakes, explanations."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from services.cli.main import app
from services.contract.user_errors import EXIT_USAGE
from services.runtime.settings import ROOT, Settings, SettingsError, load
from services.runtime.settings.commented_yaml import explained
from services.runtime.settings.setting_sources import RENAMED, warn_of_former_name

UNITS = {"ms": "milliseconds", "s": "seconds", "min": "minutes", "h": "hours", "mb": "MiB|megabytes", "days": "days"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    warn_of_former_name.cache_clear()
    return tmp_path


def fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str | None]]:
    """Each setting below a model with its description; `*` stands for a name that the user chooses."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}", field.description
        inner, suffix = field.annotation, "."
        if get_origin(inner) is dict:
            inner, suffix = get_args(inner)[1], ".*."
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{path}{name}{suffix}")


@pytest.mark.parametrize(("path", "description"), [pytest.param(*field, id=field[0]) for field in fields(Settings)])
def test_every_setting_has_a_description_with_its_unit(path: str, description: str | None) -> None:
    assert description
    assert description.endswith(".")
    unit = UNITS.get(path.rpartition(".")[2].rpartition("_")[2])
    assert unit is None or re.search(unit, description), f"the unit is missing: {unit}"


def message_of(**arguments: Any) -> str:
    with pytest.raises(SettingsError) as error:
        load(**arguments)
    text = str(error.value)
    assert len(text.splitlines()) <= 3
    assert error.value.exit_code == EXIT_USAGE
    assert error.value.do
    return text


def test_message_shows_the_value_but_never_that_of_a_secret() -> None:
    assert re.search(r"kafka\.group_prefix: .*found 7", message_of(kafka={"group_prefix": 7}))
    text = message_of(kafka={"signing_secrets": ["hush"]})
    assert "kafka.signing_secrets" in text
    assert "hush" not in text
    assert "hush" not in message_of(kafka=[{"sasl_password": "hush"}])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kafak": {}}, "kafak: no such setting; did you mean kafka?"),
        ({"kafka": {"group_prefx": ""}}, "kafka.group_prefx: no such setting; did you mean group_prefix?"),
        ({"alignment": {"modalities": {"text": {"latenes_ms": 1}}}}, "did you mean lateness_ms?"),
        ({"alignment": {"modalities": {"text": [1]}}}, "alignment.modalities.text: must be a table"),
        ({"alignment": {"sessions": {"hall": ["audio", "vidoe"]}}}, "alignment.sessions.hall: there is no modality 'vidoe'"),
        ({"alignment": {"size_ms": 0}}, "alignment.size_ms: must be greater than or equal to 1 (found 0)"),
        ({"devices": {"cam": {"modality": "vidio"}}}, "devices.cam.modality: there is no modality 'vidio'; did you mean video?"),
        ({"devices": {"cam": {"clock": "arrival", "clock_offset_ms": 5}}}, "devices.cam: clock: arrival ignores the device's own time"),
        ({"devices": {"cam": {"clock_offset_ms": "x"}}}, "devices.cam.clock_offset_ms: must be 'auto' (found 'x') or must be"),
        ({"kafka": ["x"]}, "kafka: must be a table (lines of `name: value`) (found a list)"),
        ({"topics": {"min_insync_replicas": 2}}, "topics.min_insync_replicas is 2, but topics.replication_factor is 1"),
        ({"wyoming": {"forward": "whisper"}}, "wyoming.forward: must be host:port"),
        ({"kafka": {"bootstrap_servers": "127.0.0.1:abc"}}, "kafka.bootstrap_servers: must be host:port, or several separated by commas (found '127.0.0.1:abc')"),
        ({"kafka": {"bootstrap_servers": "a:9092,http://b:9092"}}, "(found 'http://b:9092')"),
        ({"kafka": {"bootstrap_servers": "a:65536"}}, "(found 'a:65536')"),
        ({"redis": {"url": "foo"}}, "redis.url: must begin with redis://, rediss:// or unix://"),
        ({"alignment": {"size_ms": 500, "hop_ms": 501}}, "alignment.hop_ms: 501 is longer than a window (alignment.size_ms is 500)"),
    ],
)  # fmt: skip
def test_message_names_the_setting_and_the_mistake(arguments: dict[str, Any], expected: str) -> None:
    assert expected in message_of(**arguments)


def test_message_about_many_mistakes_has_three_lines_and_the_error_has_all() -> None:
    with pytest.raises(SettingsError, match="5 settings are not valid") as error:
        load(http=dict.fromkeys("abcde", 1))
    assert len(error.value.problems) == 5
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"kafka:\n\tbootstrap_servers: x\n", "Line 2, column 1: YAML does not allow tabs"),
        (b"- kafka\n", "Its top level is a list"),
        (b"kafka\n", "Its top level is a single value"),
        (
            b"kafka: {linger_ms: 1}\nredis: {}\nkafka: {}\n",
            "Line 3, column 1: kafka stands here again; it stands in line 1 already.",
        ),
        (
            b"kafka:\n  linger_ms: 1\n  linger_ms: 2\n",
            "Line 3, column 3: linger_ms stands here again; it stands in line 2",
        ),
        (b"kafka: [a\n", "braid.yaml is not valid YAML"),
        (b"kafka:\n  group_prefix: \xff\n", "braid.yaml cannot be read"),
        (b"kafka: [a]\n", "kafka: must be a table"),
        (b"alignment: {sessions: {kitchen: [audio, vidoe]}}\n", "did you mean video?"),
        (b"alignmet: {size_ms: 1}\n", "did you mean alignment?"),
    ],
)
def test_broken_file_ends_every_verb_with_three_lines_and_code_2(folder: Path, text: bytes, expected: str) -> None:
    (folder / "braid.yaml").write_bytes(text)
    assert expected in message_of()
    result = CliRunner().invoke(app, ["config", "check", "--json"])
    assert result.exit_code == EXIT_USAGE
    assert json.loads(result.stdout)["ok"] is False


def test_misspelt_section_in_a_variable_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAID_STACK", "a tool's variable")
    monkeypatch.setenv("BRAID_GATEWAY_PORT", "tcp://10.0.0.1:8640")
    load()
    monkeypatch.setenv("BRAID_ALIGMENT__SIZE_MS", "300")
    assert "BRAID_ALIGMENT__SIZE_MS: no section aligment; did you mean alignment?" in message_of()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("BRAID_KAFKA_BOOTSTRAP_SERVERS", "BRAID_KAFKA__BOOTSTRAP_SERVERS"),
        ("BRAID_ALIGMENT_SIZE_MS", "BRAID_ALIGNMENT__SIZE_MS"),
        ("BRAID_MQTT_HOST", "BRAID_MQTT__HOST"),
        ("BRAID_ALIGMENT", "BRAID_ALIGNMENT"),
    ],
)
def test_variable_that_is_nearly_a_setting_is_rejected(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "300")
    assert f"{variable}: no such setting; did you mean {meant}?" in message_of()


def test_variables_that_kubernetes_sets_for_services_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for service, port in (("GATEWAY", 8640), ("REDIS", 6379), ("KAFKA", 9092), ("MQTT", 1883), ("ALIGNER", 8080)):
        link = f"tcp://10.0.0.1:{port}"
        for name, value in {
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": str(port),
            "SERVICE_PORT_HTTP": str(port),
            "PORT": link,
            f"PORT_{port}_TCP": link,
            f"PORT_{port}_TCP_PROTO": "tcp",
            f"PORT_{port}_TCP_PORT": str(port),
            f"PORT_{port}_TCP_ADDR": "10.0.0.1",
        }.items():
            monkeypatch.setenv(f"BRAID_{service}_{name}", value)
    load()


@pytest.mark.parametrize(
    "content",
    [
        b"TZ=\n",
        b"TZ\n",
        b"\xef\xbb\xbfTZ=Europe/Berlin\n",
        b"export A='unterminated\n",
        b"=x\n# n\n",
        b"PATH=a=b=c\r\n",
    ],
)
def test_env_file_of_others_never_breaks_a_verb(content: bytes, folder: Path) -> None:
    (folder / ".env").write_bytes(content + b"\nBRAID_TOPICS__PREFIX=house\n")
    assert CliRunner().invoke(app, ["config", "check"]).exit_code == 0


def test_byte_order_mark_does_not_hide_the_first_setting(folder: Path) -> None:
    (folder / ".env").write_bytes(b"\xef\xbb\xbfBRAID_TOPICS__PREFIX=house\n")
    assert load().topics.prefix == "house"


def test_variable_with_invalid_json_is_rejected_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAID_KAFKA__TICK_SECRET", "hush-hush-hush-hush")
    text = message_of()
    assert "BRAID_KAFKA… in the environment is not valid JSON" in text
    assert "hush" not in text


def test_env_file_may_hold_variables_of_others(folder: Path) -> None:
    (folder / ".env").write_text("TZ=Europe/Berlin\nBRAID_STACK=x\nBRAID_TOPICS__PREFIX=house\n")
    assert load().topics.prefix == "house"


@pytest.mark.parametrize("former", RENAMED)
def test_former_name_still_works_with_one_warning(former: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = former.replace("*", "text").split(".")
    expected = load()
    current = [*path[:-1], RENAMED[former]]
    value: Any = expected
    for name in current:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    for name in reversed(path):
        value = {name: list(value) if isinstance(value, tuple) else value}
    (folder / "braid.yaml").write_text(yaml.safe_dump(value))
    with caplog.at_level(logging.WARNING):
        assert load() == load() == expected
    assert [record.getMessage() for record in caplog.records] == [
        f"braid.yaml: {'.'.join(path)} is now called {'.'.join(current)}; the former name works for this release only"
    ]


def test_former_variable_works_and_goes_before_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "braid.yaml").write_text("archive: {days: 1, max_mb: 5}\n")
    (folder / ".env").write_text("BRAID_GATEWAY__KEPT_S=40\n")
    monkeypatch.setenv("BRAID_KEEP_EVENTS__DAYS", "3")
    monkeypatch.setenv("BRAID_ALIGNMENT__MODALITIES", '{"text": {"patience_ms": 9}}')
    settings = load()
    assert (settings.archive.days, settings.archive.max_mb, settings.gateway.history_s) == (3, 5, 40)
    assert settings.alignment.modalities["text"].idle_timeout_ms == 9
    assert "BRAID_KEEP_EVENTS__DAYS is now called BRAID_ARCHIVE__DAYS" in caplog.text
    monkeypatch.setenv("BRAID_ARCHIVE__DAYS", "4")
    assert load().archive.days == 4


CONFIGURATION = {
    "kafka": {"bootstrap_servers": "a:1,b:2", "ca_file": "/etc/ca.pem"},
    "alignment": {
        "modalities": {"text": {"idle_timeout_ms": 6_500}, "sensor": {"gapless": True}},
        "sessions": {"kitchen*": ["audio", "video"], "*": ["text"], "1": []},
    },
    "gateway": {"allowed_hosts": ["braid.local", "on"]},
    "wyoming": {"sessions": {"192.168.1.20": "kitchen"}, "forward": "whisper:10300"},
    "devices": {"watch": {"session": "yes", "clock_offset_ms": "auto"}, "/devices/cam/front": {"clock_offset_ms": -15}},
    "tracing": {"share": 0.25},
}


@pytest.mark.parametrize("arguments", [{}, CONFIGURATION], ids=["defaults", "full"])
def test_explained_settings_load_as_the_same_settings(arguments: dict[str, Any], folder: Path) -> None:
    settings = load(**arguments)
    (folder / "braid.yaml").write_text(explained(settings))
    assert load() == settings
    assert load().alignment_config().digest == settings.alignment_config().digest


def test_explanation_has_description_default_and_range_above_each_key() -> None:
    text = explained(load(redis={"ttl_s": 60}))
    comment = "  # How long a payload stays in Redis, in seconds. (default: 120; 1 to 86400)\n"
    assert f"{comment}  ttl_s: 60\n" in text
    assert "\n# The connection to Redis" in text
    assert max(map(len, text.splitlines())) < 200


def test_explanation_does_not_show_secrets() -> None:
    text = explained(load(redis={"password": "hush"}, kafka={"signing_secrets": ["hush-hush-hush-hush"]}))
    assert "hush" not in text
    assert "  # password: is set and not shown\n" in text
    assert "redis" in yaml.safe_load(text)


def test_verb_prints_explained_settings_with_the_schema_for_editors(folder: Path) -> None:
    result = CliRunner().invoke(app, ["config", "show", "--explain"])
    first = result.stdout.splitlines()[0]
    assert first == f"# yaml-language-server: $schema={ROOT / 'docs/schemas/settings.schema.json'}"
    (folder / "braid.yaml").write_text(result.stdout)
    assert load() == Settings()
    shown = CliRunner().invoke(app, ["config", "show"]).stdout
    assert "alignment.modalities.text.idle_timeout_ms = 1500\n" in shown
    assert "config digest (what windows depend on): 9d6353936a05\n" in shown


def test_json_schema_describes_every_setting_for_editors() -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "settings.schema.json").read_text(encoding="utf-8"))
    for name, model in {"Settings": schema, **schema["$defs"]}.items():
        assert model["description"], name
        for setting, rules in model["properties"].items():
            # A section with the description of its table is described only there.
            assert rules.get("description") or "$ref" in rules, f"{name}.{setting}"


def test_sample_configuration_names_a_schema_that_exists() -> None:
    sample = ROOT / "deploy" / "kubernetes" / "braid.yaml"
    first = sample.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (sample.parent / first.partition("=")[2]).is_file()


@pytest.mark.parametrize("prefix", ["media", "my.media"])
def test_a_prefix_with_which_topics_of_services_look_like_media_is_refused(prefix: str) -> None:
    assert "topics.prefix: must not end in media" in message_of(topics={"prefix": prefix})
