"""The manifests of deploy/kubernetes as they stand in their files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.unit.deploy.queries import DEPLOY

KUBERNETES = DEPLOY / "kubernetes"
SETTINGS = KUBERNETES / "braid.yaml"
GPU = KUBERNETES / "gpu" / "fusion.yaml"
KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
FILES = sorted(path for path in KUBERNETES.rglob("*.yaml") if path not in (*KUSTOMIZATIONS, SETTINGS, GPU))
SERVICES = ("aligner", "fusion", "gateway")
UNIT_BYTES = {"Mi": 2**20, "Gi": 2**30, "m": 2**20, "g": 2**30}


def documents(path: Path) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if found is not None]


ALL = [document for path in FILES for document in documents(path)]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [d for d in ALL if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def pod(service: str) -> dict[str, Any]:
    found: dict[str, Any] = named("Deployment", service)["spec"]["template"]["spec"]
    return found


def container(service: str) -> dict[str, Any]:
    (found,) = pod(service)["containers"]
    assert found["name"] == service
    return dict(found)


def patched(onto: Any, patch: Any) -> Any:
    """What a strategic merge makes of two parts of a manifest: mappings grow, lists of named things by their names."""
    if isinstance(onto, dict) and isinstance(patch, dict):
        return {**onto, **{key: patched(onto.get(key), value) for key, value in patch.items()}}
    if isinstance(onto, list) and all("name" in item for item in (*onto, *patch)):
        rest = {item["name"]: item for item in patch}
        return [patched(item, rest.pop(item["name"], {})) for item in onto] + list(rest.values())
    return patch


def with_gpu() -> dict[str, Any]:
    (patch,) = documents(GPU)
    found: dict[str, Any] = patched(named("Deployment", "fusion"), patch)
    return found


def size_bytes(text: str) -> int:
    """Bytes of what manifests and compose write as 4Gi or 4g."""
    found = re.fullmatch(r"(\d+)(Mi|Gi|m|g)", text)
    assert found is not None, text
    return int(found[1]) * UNIT_BYTES[found[2]]
