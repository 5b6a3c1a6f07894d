"""What the compose file and its configuration promise, read from the files themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from services.gateway import app
from services.kafka import consumer_loop
from services.kafka.clients import RECORD_BYTES_MAX
from services.runtime.net import access_token
from services.runtime.settings import Settings, load

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("topics", "aligner", "fusion", "fusion-gpu", "gateway", "mqtt")
LASTING = tuple(name for name in SERVICES if name != "topics")
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
UNIT_BYTES = {"k": 2**10, "m": 2**20, "g": 2**30}


def size_bytes(text: str) -> int:
    """Bytes of what compose and Redis write as 512mb, 64m or 1g."""
    found = re.fullmatch(r"(\d+)([kmg])b?", text)
    assert found is not None, f"{text!r} is not a size with a unit"
    return int(found[1]) * UNIT_BYTES[found[2]]


def properties() -> dict[str, str]:
    lines = (ROOT / "deploy" / "kafka.properties").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def setting_exists(variable: str) -> bool:
    """Whether BRAID_A__B names a field of the settings."""
    model: Any = Settings
    for part in variable.removeprefix("BRAID_").lower().split("__"):
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return False
        model = model.model_fields[part].annotation
    return True


def without_choices(value: str) -> str:
    """What compose makes of ${NAME:-default} where nobody has set NAME."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)


def test_the_same_services_run_as_on_one_machine_without_containers() -> None:
    assert set(SERVICES) == {"kafka", "redis", "prometheus", "grafana", *OURS}


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"BRAID_[A-Z0-9_]+", TEXT + DOCKERFILE))))
def test_every_variable_of_ours_is_a_setting(variable: str) -> None:
    assert setting_exists(variable), f"{variable} is no setting of services/runtime/settings.py"


def test_a_variable_that_is_no_setting_would_be_found() -> None:
    assert not setting_exists("BRAID_KAFKA__BOOTSTRAP")
    assert not setting_exists("BRAID_HTTP__PORT__DEEPER")


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_every_service_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in SERVICES[name]["environment"].items():
        assert isinstance(value, str), f"{variable} must be quoted: YAML reads {value!r} as something else than text"
        monkeypatch.setenv(variable, without_choices(value))
    settings = load()
    broker, port = settings.kafka.bootstrap_servers.split(":")
    assert f"INSIDE://{broker}:{port}" in properties()["advertised.listeners"].split(",")
    assert settings.redis.url.startswith("redis://redis:6379")
    assert settings.http.host == "0.0.0.0"  # the container's own address space: no port of it is published


def test_all_services_agree_on_what_a_window_means() -> None:
    environments = [SERVICES[name]["environment"] for name in OURS]
    own = ("BRAID_FUSION__", "BRAID_GATEWAY__", "BRAID_ARCHIVE__", "BRAID_LABELS__", "BRAID_MQTT__")
    shared = [{k: v for k, v in e.items() if not k.startswith(own)} for e in environments]
    assert all(environment == shared[0] for environment in shared)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert 0 < size_bytes(service["mem_limit"]) <= 4 * 2**30
    assert 0 < service["pids_limit"] <= 1024
    assert size_bytes(service["logging"]["options"]["max-size"]) <= 100 * 2**20
    assert int(service["logging"]["options"]["max-file"]) <= 10
    for mount in service.get("tmpfs", []):
        assert "size=" in mount, f"{mount} could grow until the memory limit ends the service"


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    forbidden = {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode", "volumes_from"}
    assert not forbidden & set(service)
    for volume in service.get("volumes", []):
        source, _, rest = volume.partition(":")
        named = source in COMPOSE["volumes"]
        assert named or (source.startswith("./deploy/") and rest.endswith(":ro")), f"{volume} opens the machine"
        assert named or (ROOT / source).exists()


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert not ports or "loopback" in SERVICES[name]["networks"]


@pytest.mark.parametrize("name", ["redis", "aligner", "fusion", "fusion-gpu"])
def test_what_holds_media_has_no_way_out(name: str) -> None:
    assert list(SERVICES[name]["networks"]) == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("name", LASTING)
def test_every_lasting_service_has_a_health_check_with_a_start_period(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"start_period", "start_interval", "interval", "timeout", "retries"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_services_start_after_the_topics_are_made() -> None:
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert SERVICES["topics"]["restart"].startswith("on-failure:")
    for name in set(OURS) - {"topics"}:
        assert SERVICES[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}
        assert SERVICES[name]["depends_on"]["redis"] == {"condition": "service_healthy"}


def test_a_restarted_service_is_the_same_group_member_and_replicas_are_not() -> None:
    for name, service in {"aligner": "aligner", "fusion": "fusion", "fusion-gpu": "fusion"}.items():
        shell, flag, line = SERVICES[name]["command"]
        assert (shell, flag) == ("/bin/sh", "-c")
        assert line == f'BRAID_KAFKA__INSTANCE="$$HOSTNAME" exec braid run {service}'
        assert "container_name" not in SERVICES[name]
        assert "hostname" not in SERVICES[name]


def test_the_page_that_shows_media_is_published_on_loopback_and_asks_for_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in SERVICES["gateway"]["environment"].items():
        monkeypatch.setenv(variable, without_choices(value))
    gateway = load().gateway
    assert SERVICES["gateway"]["ports"] == [f"127.0.0.1:{gateway.port}:{gateway.port}"]
    assert access_token(gateway), "what all containers and the published port reach must not answer everybody"


def test_a_service_is_given_the_time_that_its_last_turn_may_take() -> None:
    for name, turn_s in {
        "aligner": consumer_loop.LAST_TURN_S,
        "fusion": consumer_loop.LAST_TURN_S,
        "gateway": app.SHUTDOWN_WITHIN_S,
    }.items():
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > turn_s


def test_the_bridge_to_mqtt_runs_where_it_is_asked_for_only_and_sends_nothing_in_the_clear_by_itself() -> None:
    bridge = SERVICES["mqtt"]
    assert bridge["profiles"] == ["mqtt"]
    assert without_choices(bridge["environment"]["BRAID_MQTT__ALLOW_UNENCRYPTED"]) == "false"
    assert bridge["extra_hosts"] == ["host.docker.internal:host-gateway"]


def test_what_is_not_asked_for_does_not_start() -> None:
    asked = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert asked == {"mqtt": ["mqtt"], "fusion-gpu": ["gpu"]}


def test_the_worker_on_a_gpu_is_the_one_on_the_cpu_with_a_gpu_and_is_scraped_as_one() -> None:
    gpu, cpu = SERVICES["fusion-gpu"], SERVICES["fusion"]
    own = {"profiles", "environment", "networks", "deploy", "mem_limit"}
    same = set(gpu) - own
    assert same == set(cpu) - own
    assert all(gpu[key] == cpu[key] for key in same)
    assert gpu["environment"] == cpu["environment"] | {"BRAID_FUSION__DEVICE": "cuda"}
    assert gpu["networks"] == {"inside": {"aliases": ["fusion"]}}
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_secrets_of_ticks_and_a_collector_of_traces_come_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"BRAID_KAFKA__TICK_SECRET": '["sixteen letters!"]', "BRAID_TRACING__ENDPOINT": "http://collector:4318"}
    for variable, value in given.items():
        assert SERVICES["aligner"]["environment"][variable].startswith(f"${{{variable}:-")
        monkeypatch.setenv(variable, value)
    settings = load()
    assert [secret.get_secret_value() for secret in settings.kafka.tick_secret] == ["sixteen letters!"]
    assert settings.tracing.endpoint == "http://collector:4318"


def test_redis_refuses_when_full_and_keeps_nothing() -> None:
    words = SERVICES["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--save"] == ""
    assert options["--appendonly"] == "no"
    assert size_bytes(options["--maxmemory"]) < size_bytes(SERVICES["redis"]["mem_limit"])


def test_the_broker_takes_what_the_services_send_and_makes_no_topics_by_itself() -> None:
    config = properties()
    assert int(config["message.max.bytes"]) == RECORD_BYTES_MAX
    assert int(config["replica.fetch.max.bytes"]) == RECORD_BYTES_MAX
    assert config["auto.create.topics.enable"] == "false"
    assert config["process.roles"] == "broker,controller"
    data = [volume.split(":")[1] for volume in SERVICES["kafka"]["volumes"] if volume.startswith("kafka:")]
    assert [config["log.dirs"]] == data
    host = dict(entry.split("://") for entry in config["advertised.listeners"].split(","))["HOST"]
    assert SERVICES["kafka"]["ports"] == [f"{host}:{host.rpartition(':')[2]}"]


def test_the_heap_of_the_broker_fits_its_memory_limit() -> None:
    found = re.search(r"-Xmx(\d+m)", SERVICES["kafka"]["environment"]["KAFKA_HEAP_OPTS"])
    assert found is not None
    assert 2 * size_bytes(found[1]) <= size_bytes(SERVICES["kafka"]["mem_limit"])


def test_prometheus_reads_every_service_at_the_port_that_it_listens_on() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    assert set(jobs) == {"aligner", "fusion", "gateway", "mqtt"}
    for name, lookup in jobs.items():
        assert lookup["names"] == [name]
        assert str(lookup["port"]) == SERVICES[name]["environment"]["BRAID_HTTP__PORT"]
        assert f":{lookup['port']}/readyz" in SERVICES[name]["healthcheck"]["test"][-1]
