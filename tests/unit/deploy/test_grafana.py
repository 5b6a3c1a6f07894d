"""Grafana in the compose file: it finds Prometheus and the dashboards by itself, and nobody can change or enter it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from services.runtime.settings import ROOT
from tests.unit.deploy.queries import DASHBOARDS, DEPLOY, dashboard
from tests.unit.test_compose import SERVICES

GRAFANA = SERVICES["grafana"]
# Where a file or folder of ours lies inside the container.
VOLUMES: list[list[str]] = [volume.split(":") for volume in GRAFANA["volumes"]]
MOUNTS = {target: ROOT / source for source, target, _ in VOLUMES}


def provisioned(kind: str) -> dict[str, Any]:
    path = MOUNTS[f"/etc/grafana/provisioning/{kind}/braid.yml"]
    read: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert read["apiVersion"] == 1
    return read


def ours(inside: str) -> Path:
    """The file or folder of this repository that the container sees under a path."""
    (target,) = [target for target in MOUNTS if Path(inside).is_relative_to(target)]
    return MOUNTS[target] / Path(inside).relative_to(target)


def test_the_data_source_is_the_prometheus_beside_it() -> None:
    (source,) = provisioned("datasources")["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True
    (port,) = [port.split(":")[-1] for port in SERVICES["prometheus"]["ports"]]
    assert source["url"] == f"http://prometheus:{port}"
    assert set(GRAFANA["networks"]) & set(SERVICES["prometheus"]["networks"])
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped


def test_every_data_source_that_a_dashboard_asks_for_is_there() -> None:
    (source,) = provisioned("datasources")["datasources"]
    for path in DASHBOARDS:
        board = dashboard(path)
        # A variable takes the default one of its type; whatever is named by itself must be that one.
        variables = {f"${{{v['name']}}}": v["query"] for v in board["templating"]["list"] if v["type"] == "datasource"}
        assert set(variables.values()) == {source["type"]}
        asked = [panel["datasource"] for panel in board["panels"]]
        asked += [target["datasource"] for panel in board["panels"] for target in panel["targets"]]
        assert {one["type"] for one in asked} == {source["type"]}
        assert {one["uid"] for one in asked} <= {source["uid"], *variables}


def test_the_four_dashboards_are_in_the_folder_that_it_reads_and_the_first_page_is_one() -> None:
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["type"] == "file"
    assert sorted(ours(provider["options"]["path"]).rglob("*.json")) == DASHBOARDS
    assert ours(GRAFANA["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]) in DASHBOARDS
    assert provider["allowUiUpdates"] is False


def test_everybody_on_this_machine_may_look_and_nobody_may_change() -> None:
    environment = GRAFANA["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_SERVER_ENFORCE_DOMAIN"] == "true"
    (port,) = GRAFANA["ports"]
    assert port.rpartition(":")[0].startswith(environment["GF_SERVER_DOMAIN"] + ":")
    assert not [name for name in environment if "PASSWORD" in name]


def test_what_it_writes_is_gone_with_it() -> None:
    assert {mount.split(":")[0] for mount in GRAFANA["tmpfs"]} == {"/var/lib/grafana", "/tmp"}
    assert all(volume.endswith(":ro") for volume in GRAFANA["volumes"])
