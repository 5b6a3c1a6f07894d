"""The manifests are valid for Kubernetes and KEDA, and hold the decisions that keep services safe and running."""

from __future__ import annotations

import copy
import re
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.gateway import app
from services.kafka import consumer_loop
from services.runtime.settings import ROOT, Settings
from tests.unit.deploy.manifests import (
    ALL,
    FILES,
    GPU,
    KUSTOMIZATIONS,
    SERVICES,
    container,
    manifest,
    pod,
    with_gpu,
)
from tests.unit.deploy.queries import SCALED
from tests.unit.deploy.test_compose import SERVICES as COMPOSE
from tests.unit.deploy.test_compose import setting_exists

DEPLOY_PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
# The schemas of Kubernetes do not contain these kinds of KEDA and the Prometheus operator.
FOREIGN_KINDS = {"ScaledObject", "PodMonitor"}


# The oldest version that docs/deploy.md names, and the newest known here.
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_accepts_every_manifest_and_knows_every_field(version: str) -> None:
    for document in (*(d for d in ALL if d["kind"] not in FOREIGN_KINDS), with_gpu()):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.slow
def test_keda_accepts_every_scaled_object_and_knows_every_field() -> None:
    # Imported here because it takes more than a second and only this test needs it.
    from cloudcoil.models.keda.v1alpha1 import ScaledObject

    def parse(document: dict[str, Any]) -> Any:
        return ScaledObject.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)

    for scaled in SCALED:
        assert parse(scaled) == scaled
    unknown_field = copy.deepcopy(SCALED[0])
    unknown_field["spec"]["maxReplicas"] = unknown_field["spec"].pop("maxReplicaCount")
    assert parse(unknown_field) != unknown_field


def test_each_kustomization_lists_every_file_and_folder_beside_it() -> None:
    for path in KUSTOMIZATIONS:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        listed = [*content.get("resources", ()), *content.get("components", ())]
        listed += [patch["path"] for patch in content.get("patches", ()) if "path" in patch]
        listed += [file for generator in content.get("configMapGenerator", ()) for file in generator["files"]]
        listed += re.findall(r"^# - (\w+)$", text, re.MULTILINE)  # optional components are listed in comments
        assert sorted(listed) == sorted(entry.name for entry in path.parent.iterdir() if entry != path)


def test_the_settings_are_accepted_and_mounted_where_services_read_them(settings: Settings) -> None:
    for service in SERVICES:
        mounts = {mount["name"]: mount["mountPath"] for mount in container(service)["volumeMounts"]}
        assert mounts["settings"] == "/app/braid.yaml"
        ports = {port["name"]: port["containerPort"] for port in container(service)["ports"]}
        assert (settings.http.host, settings.http.port) == ("0.0.0.0", ports["http"])
    assert settings.kafka.instance == ""
    texts = [path.read_text(encoding="utf-8") for path in (*FILES, GPU)]
    for variable in set(re.findall(r"BRAID_[A-Z0-9_]+", "".join([*texts, DEPLOY_PAGE]))):
        assert setting_exists(variable), variable


def test_selectors_select_the_pods_of_their_service() -> None:
    for service in SERVICES:
        labels = manifest("Deployment", service)["spec"]["template"]["metadata"]["labels"]
        assert labels == {"app.kubernetes.io/component": service, "app.kubernetes.io/part-of": "braid"}
        assert manifest("Deployment", service)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for service in ("aligner", "fusion"):
        budget = manifest("PodDisruptionBudget", service)["spec"]
        assert budget["selector"] == manifest("Deployment", service)["spec"]["selector"]
    assert manifest("Service", "gateway")["spec"]["selector"] == {"app.kubernetes.io/component": "gateway"}
    # Alert rules and ScaledObjects use this label as the name of the job.
    assert manifest("PodMonitor", "braid")["spec"]["jobLabel"] == "app.kubernetes.io/component"


def test_there_are_never_more_replicas_than_partitions(settings: Settings) -> None:
    for service in ("aligner", "fusion"):
        spec = manifest("Deployment", service)["spec"]
        assert spec["replicas"] <= settings.topics.partitions
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    for scaled in SCALED:
        assert scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"] <= settings.topics.partitions


def test_pods_reach_only_dns_kafka_redis_and_a_trace_collector() -> None:
    policy = manifest("NetworkPolicy", "braid")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    allowed = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert allowed == {("UDP", 53), ("TCP", 53), ("TCP", 9092), ("TCP", 9093), ("TCP", 6379), ("TCP", 4318)}
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["http"]


@pytest.mark.parametrize("service", SERVICES)
def test_pods_run_as_a_non_root_user_with_a_read_only_root_and_no_token(service: str) -> None:
    spec = pod(service)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" == COMPOSE[service]["user"]
    for part in (*spec["initContainers"], *spec["containers"]):
        assert part["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in part["resources"]["limits"]


def test_pods_have_enough_time_to_stop() -> None:
    for service in ("aligner", "fusion"):
        assert pod(service)["terminationGracePeriodSeconds"] > consumer_loop.LAST_TURN_S
    assert pod("gateway")["terminationGracePeriodSeconds"] > app.SHUTDOWN_WITHIN_S


def test_the_gateway_has_one_replica_and_a_volume_for_evidence_and_labels(settings: Settings) -> None:
    deployment = manifest("Deployment", "gateway")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    claims = {v["name"] for v in pod("gateway")["volumes"] if "persistentVolumeClaim" in v}
    (mount,) = [mount for mount in container("gateway")["volumeMounts"] if mount["name"] in claims]
    for folder in (settings.archive.folder, settings.labels.folder):
        assert folder.is_relative_to(mount["mountPath"])


def test_the_documented_command_makes_a_prometheus_rule_of_the_alerts() -> None:
    (line,) = re.findall(r"^\((printf .*)\) \| kubectl apply .*$", DEPLOY_PAGE, re.MULTILINE)
    rule = yaml.safe_load(subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, check=True).stdout)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))
