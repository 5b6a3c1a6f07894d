"""The queries of alert rules, dashboards and ScaledObjects, and the metrics that they name."""

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
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def expressions() -> dict[str, str]:
    """Every query by where it stands; Grafana's own variable is a length of time."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in RULES}
    for scaled in SCALED:
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                found[f"ScaledObject {scaled['metadata']['name']}"] = trigger["metadata"]["query"]
    for path in DASHBOARDS:
        for panel in dashboard(path)["panels"]:
            for target in panel["targets"]:
                place = f"{path.stem}: {panel['title']} {target['refId']}"
                found[place] = target["expr"].replace("$__rate_interval", "1m")
    return found


def metrics(expression: str) -> set[str]:
    """The metrics of ours in a query, as they are exported."""
    return set(re.findall(r"\bbraid_[a-z_]+", expression))
