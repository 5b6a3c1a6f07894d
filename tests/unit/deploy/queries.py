"""The queries of alert rules, dashboards and ScaledObjects, and the metrics they use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from services.runtime.settings import ROOT

DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
SCALED: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "kubernetes" / "autoscale" / "scaled.yaml").read_text(encoding="utf-8"))
)


def dashboard(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return board


def expressions() -> dict[str, str]:
    """Return every query by its place, with a duration for Grafana's variable."""
    queries = {f"alert {rule['alert']}": rule["expr"] for rule in RULES}
    for scaled in SCALED:
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                queries[f"ScaledObject {scaled['metadata']['name']}"] = trigger["metadata"]["query"]
    for path in DASHBOARDS:
        for panel in dashboard(path)["panels"]:
            for target in panel["targets"]:
                place = f"{path.stem}: {panel['title']} {target['refId']}"
                queries[place] = target["expr"].replace("$__rate_interval", "1m")
    return queries


def metrics(expression: str) -> set[str]:
    """Return Braid's metrics in a query."""
    return set(re.findall(r"\bbraid_[a-z_]+", expression))
