"""The manifests in deploy/kubernetes, parsed."""

from __future__ import annotations

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


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document is not None]


ALL = [document for path in FILES for document in documents(path)]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (document,) = [d for d in ALL if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return document


def pod(service: str) -> dict[str, Any]:
    spec: dict[str, Any] = manifest("Deployment", service)["spec"]["template"]["spec"]
    return spec


def container(service: str) -> dict[str, Any]:
    (only,) = pod(service)["containers"]
    return dict(only)


def merge(base: Any, patch: Any) -> Any:
    """Apply a strategic merge patch: merge mappings by key, and lists of named entries by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: merge(base.get(key), value) for key, value in patch.items()}}
    if isinstance(base, list) and all("name" in entry for entry in (*base, *patch)):
        rest = {entry["name"]: entry for entry in patch}
        return [merge(entry, rest.pop(entry["name"], {})) for entry in base] + list(rest.values())
    return patch


def with_gpu() -> dict[str, Any]:
    (patch,) = documents(GPU)
    deployment: dict[str, Any] = merge(manifest("Deployment", "fusion"), patch)
    return deployment
