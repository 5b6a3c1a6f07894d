"""The pods of the services have what the services need, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway import app
from services.kafka import consumer_loop
from services.runtime.settings import Settings
from tests.unit.deploy.manifests import SERVICES, container, named, pod, size_bytes, with_gpu
from tests.unit.test_compose import SERVICES as COMPOSE


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_of_a_service_has_no_rights_that_it_does_not_use(service: str) -> None:
    spec = pod(service)
    assert spec["automountServiceAccountToken"] is False
    assert named("ServiceAccount", spec["serviceAccountName"])["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" == COMPOSE[service]["user"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in (*spec["initContainers"], *spec["containers"]):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["resources"]["requests"].keys() == {"cpu", "memory"}
        assert size_bytes(one["resources"]["limits"]["memory"]) >= size_bytes(one["resources"]["requests"]["memory"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_of_a_service_is_asked_where_it_answers(service: str, settings: Settings) -> None:
    one = container(service)
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", ports["http"])
    assert one["livenessProbe"]["httpGet"] == one["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert one["command"] == ["braid", "run", service]
    assert [first["command"] for first in pod(service)["initContainers"]] == [["braid", "topics", "apply"]]


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_of_a_service_has_the_memory_that_it_has_in_compose(service: str) -> None:
    limit = container(service)["resources"]["limits"]["memory"]
    assert size_bytes(limit) == size_bytes(COMPOSE[service]["mem_limit"])


def test_a_pod_is_given_the_time_that_its_last_turn_may_take() -> None:
    last_turn_s = {
        "aligner": consumer_loop.LAST_TURN_S,
        "fusion": consumer_loop.LAST_TURN_S,
        "gateway": app.SHUTDOWN_WITHIN_S,
    }
    for service, turn_s in last_turn_s.items():
        assert pod(service)["terminationGracePeriodSeconds"] > turn_s


def test_the_services_differ_in_what_they_are_and_in_nothing_else() -> None:
    def common(service: str) -> dict[str, Any]:
        spec = {key: value for key, value in pod(service).items() if key in ("serviceAccountName", "initContainers")}
        one = container(service)
        return spec | {key: one[key] for key in ("image", "startupProbe", "livenessProbe", "readinessProbe")}

    assert common("aligner") == common("fusion") == common("gateway")
    for service in SERVICES:
        volumes = {volume["name"] for volume in pod(service)["volumes"]}
        assert volumes == {mount["name"] for mount in container(service)["volumeMounts"]}
        assert volumes - {"settings", "tls", "tmp"} == ({"kept"} if service == "gateway" else set())


def test_the_gateway_keeps_what_it_keeps_on_a_claim_with_room_for_it_and_is_alone(settings: Settings) -> None:
    (mount,) = [m for m in container("gateway")["volumeMounts"] if m["name"] == "kept"]
    for folder in (settings.archive.folder, settings.labels.folder):
        assert folder.is_relative_to(mount["mountPath"])
    (volume,) = [v for v in pod("gateway")["volumes"] if v["name"] == "kept"]
    claim = named("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
    assert size_bytes(claim["spec"]["resources"]["requests"]["storage"]) > settings.archive.max_mb * 10**6
    assert pod("gateway")["securityContext"]["fsGroup"] == pod("gateway")["securityContext"]["runAsGroup"]
    assert named("Deployment", "gateway")["spec"]["replicas"] == 1
    assert named("Deployment", "gateway")["spec"]["strategy"] == {"type": "Recreate"}
    (port,) = named("Service", "gateway")["spec"]["ports"]
    ports = {p["name"]: p["containerPort"] for p in container("gateway")["ports"]}
    assert port["port"] == ports[port["targetPort"]] == settings.gateway.port


def test_every_fusion_worker_is_on_a_gpu_where_one_is() -> None:
    (one,) = with_gpu()["spec"]["template"]["spec"]["containers"]
    assert one["env"] == [{"name": "BRAID_FUSION__DEVICE", "value": "cuda"}]
    assert one["resources"]["limits"] == {"memory": "4Gi", "nvidia.com/gpu": "1"}
    assert one["securityContext"] == container("fusion")["securityContext"]
    assert one["volumeMounts"] == container("fusion")["volumeMounts"]
    assert size_bytes("4Gi") == size_bytes(COMPOSE["fusion-gpu"]["mem_limit"])
