"""The manifests are what Kubernetes and KEDA take, hold together, and give the services what they need."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.runtime.settings import ROOT, Settings
from tests.unit.deploy.manifests import (
    ALL,
    FILES,
    GPU,
    KUBERNETES,
    KUSTOMIZATIONS,
    SERVICES,
    container,
    named,
    pod,
    with_gpu,
)
from tests.unit.deploy.queries import SCALED
from tests.unit.test_compose import SERVICES as COMPOSE
from tests.unit.test_compose import setting_exists

DEPLOY = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
# The oldest that docs/deploy.md names, and the newest that is known here.
VERSIONS = ("1.30", "1.37")
# Of others' making, so that the schemas of Kubernetes know nothing of them.
OTHERS = {"ScaledObject", "PodMonitor"}
OF_KUBERNETES = [document for document in ALL if document["kind"] not in OTHERS]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest_and_no_field_is_unknown_to_it(version: str) -> None:
    for document in (*OF_KUBERNETES, with_gpu()):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_field_that_kubernetes_does_not_know_would_be_found(version: str) -> None:
    wrong = copy.deepcopy(named("Deployment", "aligner"))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


@pytest.mark.slow
def test_keda_takes_every_scaled_object_and_no_field_is_unknown_to_it() -> None:
    # Here and not above: it takes more than a second, which only this test needs.
    from cloudcoil.models.keda.v1alpha1 import ScaledObject

    def understood(document: dict[str, Any]) -> Any:
        return ScaledObject.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)

    for scaled in SCALED:
        assert understood(scaled) == scaled
    wrong = copy.deepcopy(SCALED[0])
    wrong["spec"]["maxReplicas"] = wrong["spec"].pop("maxReplicaCount")
    assert understood(wrong) != wrong


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_a_kustomization_names_each_file_and_folder_beside_it_and_nothing_else(path: Path) -> None:
    one = yaml.safe_load(path.read_text(encoding="utf-8"))
    named_here = [*one.get("resources", ()), *one.get("components", ())]
    named_here += [patch["path"] for patch in one.get("patches", ()) if "path" in patch]
    named_here += [file for made in one.get("configMapGenerator", ()) for file in made["files"]]
    # Components are for whoever has what they need: the first kustomization names them in a comment.
    named_here += re.findall(r"^# - (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named_here) == sorted(entry.name for entry in path.parent.iterdir() if entry != path)


def test_what_a_kustomization_includes_may_be_included() -> None:
    kinds = {path.parent.name: yaml.safe_load(path.read_text(encoding="utf-8"))["kind"] for path in KUSTOMIZATIONS}
    assert kinds == {
        "kubernetes": "Kustomization",
        "base": "Kustomization",
        "autoscale": "Component",
        "monitoring": "Component",
        "gpu": "Component",
    }


def test_the_settings_are_accepted_and_where_the_manifests_look_for_them(settings: Settings) -> None:
    (made,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["configMapGenerator"]
    for service in SERVICES:
        volumes = {volume["name"]: volume for volume in pod(service)["volumes"]}
        assert volumes["settings"] == {"name": "settings", "configMap": {"name": made["name"]}}
        # Read from the working folder of the image.
        mounts = {mount["name"]: mount["mountPath"] for mount in container(service)["volumeMounts"]}
        assert mounts["settings"] == "/app/braid.yaml"
    assert re.search(r"^WORKDIR /app$", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert settings.fusion.model == Path(COMPOSE["fusion"]["environment"]["BRAID_FUSION__MODEL"])
    assert settings.kafka.instance == ""


def test_every_variable_that_a_manifest_or_the_page_names_is_a_setting() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*FILES, GPU)]
    section = DEPLOY.partition("\n## Kubernetes\n")[2].partition("\n## ")[0]
    variables = set(re.findall(r"BRAID_[A-Z0-9_]+", "".join([*texts, section])))
    assert {"BRAID_KAFKA__SASL_PASSWORD", "BRAID_REDIS__PASSWORD", "BRAID_GATEWAY__TOKEN"} <= variables
    assert all(setting_exists(variable) for variable in variables)


def test_selectors_select_the_pods_of_their_service() -> None:
    for service in SERVICES:
        labels = named("Deployment", service)["spec"]["template"]["metadata"]["labels"]
        of_service = {"app.kubernetes.io/component": service}
        assert labels == {**of_service, "app.kubernetes.io/part-of": "braid"}
        assert named("Deployment", service)["spec"]["selector"] == {"matchLabels": of_service}
    for service in ("aligner", "fusion"):
        budget = named("PodDisruptionBudget", service)["spec"]
        assert budget == {"maxUnavailable": 1, "selector": named("Deployment", service)["spec"]["selector"]}
    assert named("Service", "gateway")["spec"]["selector"] == {"app.kubernetes.io/component": "gateway"}
    monitor = named("PodMonitor", "braid")["spec"]
    assert monitor["selector"]["matchLabels"] == {"app.kubernetes.io/part-of": "braid"}
    # Alert rules and ScaledObjects ask for jobs of these names.
    assert monitor["jobLabel"] == "app.kubernetes.io/component"
    assert [(e["port"], e["path"]) for e in monitor["podMetricsEndpoints"]] == [("http", "/metrics")]


def test_there_is_never_a_member_more_than_there_are_partitions(settings: Settings) -> None:
    for service in ("aligner", "fusion"):
        spec = named("Deployment", service)["spec"]
        assert spec["replicas"] <= settings.topics.partitions
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    for scaled in SCALED:
        spec = scaled["spec"]
        assert spec["scaleTargetRef"]["name"] == scaled["metadata"]["name"]
        assert 2 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= settings.topics.partitions
        (query,) = [t["metadata"]["query"] for t in spec["triggers"] if t["type"] == "prometheus"]
        assert f'{{job="{scaled["metadata"]["name"]}"}}' in query
    assert {scaled["metadata"]["name"] for scaled in SCALED} == {"aligner", "fusion"}


def test_what_sees_media_reaches_kafka_redis_and_a_collector_and_is_reached_for_its_health_and_its_page_alone(
    settings: Settings,
) -> None:
    policy = named("NetworkPolicy", "braid")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    out = {(p["protocol"], p["port"]) for rule in policy["egress"] for p in rule["ports"]}
    used = {
        int(settings.kafka.bootstrap_servers.rpartition(":")[2]),
        int(re.findall(r":(\d+)/", settings.redis.url)[0]),
    }
    assert out == {("UDP", 53), ("TCP", 53), *(("TCP", port) for port in used | {9093, 4318})}
    assert [p["port"] for rule in policy["ingress"] for p in rule["ports"]] == ["http"]
    (page,) = named("NetworkPolicy", "gateway")["spec"]["ingress"]
    assert page == {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": "page"}]}


def test_the_line_of_the_page_makes_a_rule_of_prometheus_operator_with_our_alerts() -> None:
    (line,) = re.findall(r"^\((printf .*)\) \| kubectl apply .*$", DEPLOY, re.MULTILINE)
    made = yaml.safe_load(subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, check=True).stdout)
    assert (made["apiVersion"], made["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert made["spec"] == yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))
