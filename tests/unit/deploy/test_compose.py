"""The decisions in docker-compose.yml and its configuration files."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from services.contract.topics import RECORD_BYTES_MAX
from services.gateway import app
from services.kafka import consumer_loop
from services.runtime.net import access_token
from services.runtime.settings import ROOT, Settings, load

TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BRAID_SERVICES = ("topics", "aligner", "fusion", "fusion-gpu", "gateway", "mqtt")
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
KAFKA = dict(
    line.split("=", 1)
    for line in (ROOT / "deploy" / "kafka.properties").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)


def setting_exists(variable: str) -> bool:
    """Whether BRAID_A__B names a field of the settings."""
    model: Any = Settings
    for part in variable.removeprefix("BRAID_").lower().split("__"):
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return False
        model = model.model_fields[part].annotation
    return True


def with_defaults(value: str) -> str:
    """Replace ${NAME:-default} by its default, as compose does for an unset variable."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)


def test_every_variable_is_a_setting() -> None:
    assert not setting_exists("BRAID_KAFKA__BOOTSTRAP")
    assert not setting_exists("BRAID_HTTP__PORT__DEEPER")
    for variable in set(re.findall(r"BRAID_[A-Z0-9_]+", TEXT + DOCKERFILE)):
        assert setting_exists(variable), variable


@pytest.mark.parametrize("name", BRAID_SERVICES)
def test_the_settings_of_each_service_are_accepted_and_lead_to_the_broker(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, with_defaults(value))
    settings = load()
    assert f"INSIDE://{settings.kafka.bootstrap_servers}" in KAFKA["advertised.listeners"].split(",")
    if name == "gateway":
        assert access_token(settings.gateway), "other containers can reach the gateway, so it requires a token"


def test_all_services_share_the_settings_of_alignment_and_topics() -> None:
    own = ("BRAID_FUSION__", "BRAID_GATEWAY__", "BRAID_ARCHIVE__", "BRAID_LABELS__", "BRAID_MQTT__")
    shared = [
        {name: value for name, value in SERVICES[service]["environment"].items() if not name.startswith(own)}
        for service in BRAID_SERVICES
    ]
    assert all(environment == shared[0] for environment in shared)


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_has_privileges_or_unlimited_memory(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(service)
    assert {"mem_limit", "pids_limit"} <= set(service)
    assert all("size=" in mount for mount in service.get("tmpfs", []))
    for volume in service.get("volumes", []):
        source, _, rest = volume.partition(":")
        assert source in COMPOSE["volumes"] or (source.startswith("./deploy/") and rest.endswith(":ro")), volume


def test_ports_are_published_on_loopback_only() -> None:
    for name, service in SERVICES.items():
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service.get("ports", [])), name


def test_containers_with_media_have_no_route_to_the_outside() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("redis", "aligner", "fusion", "fusion-gpu"):
        assert list(SERVICES[name]["networks"]) == ["inside"]


def test_services_start_after_their_topics_exist() -> None:
    for name in set(BRAID_SERVICES) - {"topics"}:
        assert SERVICES[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_a_restarted_container_is_the_same_group_member() -> None:
    for name, service in {"aligner": "aligner", "fusion": "fusion", "fusion-gpu": "fusion"}.items():
        assert SERVICES[name]["command"][-1] == f'BRAID_KAFKA__INSTANCE="$$HOSTNAME" exec braid run {service}'
        assert not {"container_name", "hostname"} & set(SERVICES[name])


def test_several_fusion_workers_run_if_the_setting_says_so() -> None:
    for name in ("fusion", "fusion-gpu"):
        assert with_defaults(SERVICES[name]["scale"]) == str(load().fusion.processes) == "1"
        assert SERVICES[name]["scale"].startswith("${BRAID_FUSION__PROCESSES:-")


def test_services_have_enough_time_to_stop() -> None:
    for name, shutdown_s in {
        "aligner": consumer_loop.LAST_TURN_S,
        "fusion": consumer_loop.LAST_TURN_S,
        "gateway": app.SHUTDOWN_WITHIN_S,
    }.items():
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > shutdown_s


def test_the_mqtt_bridge_and_the_gpu_worker_run_on_request_only() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "mqtt": ["mqtt"],
        "fusion-gpu": ["gpu"],
    }
    assert with_defaults(SERVICES["mqtt"]["environment"]["BRAID_MQTT__ALLOW_UNENCRYPTED"]) == "false"
    gpu, cpu = SERVICES["fusion-gpu"], SERVICES["fusion"]
    assert gpu["environment"] == cpu["environment"] | {"BRAID_FUSION__DEVICE": "cuda"}
    assert gpu["image"] == cpu["image"]


def test_redis_returns_an_error_when_it_is_full_and_writes_nothing_to_disk() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--maxmemory-policy"], options["--save"], options["--appendonly"]) == ("noeviction", "", "no")


def test_the_broker_accepts_the_largest_records_and_creates_no_topics_by_itself() -> None:
    assert int(KAFKA["message.max.bytes"]) == int(KAFKA["replica.fetch.max.bytes"]) == RECORD_BYTES_MAX
    assert KAFKA["auto.create.topics.enable"] == "false"
    assert KAFKA["log.dirs"] in [volume.split(":")[1] for volume in SERVICES["kafka"]["volumes"]]


def test_prometheus_scrapes_every_service_at_its_port() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    ports = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in config["scrape_configs"]}
    assert ports == {
        name: int(SERVICES[name]["environment"]["BRAID_HTTP__PORT"])
        for name in ("aligner", "fusion", "gateway", "mqtt")
    }


def test_grafana_shows_the_dashboards_to_everybody_on_this_machine_and_lets_nobody_change_them() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_SERVER_ENFORCE_DOMAIN"] == "true"
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources.yml").read_text(encoding="utf-8"))["datasources"]
    assert source["url"] == f"http://prometheus:{SERVICES['prometheus']['ports'][0].split(':')[-1]}"
    (provider,) = yaml.safe_load((provisioning / "dashboards.yml").read_text(encoding="utf-8"))["providers"]
    mounts = {target: folder for folder, target, _ in (volume.split(":") for volume in SERVICES["grafana"]["volumes"])}
    assert mounts[provider["options"]["path"]] == "./deploy/grafana"
