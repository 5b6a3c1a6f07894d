"""Alert rules, dashboards and scaling queries, checked by promtool. tests/integration/test_metrics.py checks their metrics."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from services.runtime.settings import ROOT
from tests.integration.mosquitto import system_binary
from tests.unit.deploy.queries import DASHBOARDS, DEPLOY, RULES, dashboard, expressions
from tests.waiting import DEADLINE_S

CASES = Path(__file__).parent / "alerts.test.yml"


def promtool(*arguments: str) -> None:
    result = subprocess.run(
        [system_binary("promtool", "prometheus"), *arguments], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_accepts_its_configuration_and_the_rules() -> None:
    promtool("check", "config", str(DEPLOY / "prometheus.yml"))
    promtool("check", "rules", str(DEPLOY / "alerts.yml"))


def test_a_killed_aligner_a_silent_modality_and_a_stopped_redis_each_fire_their_alert() -> None:
    promtool("test", "rules", str(CASES))


def test_every_alert_has_a_test_case_and_a_row_in_the_operators_page() -> None:
    cases, page = CASES.read_text(), (ROOT / "docs" / "operate.md").read_text()
    for name in (rule["alert"] for rule in RULES):
        assert name in cases
        assert f"| `{name}` |" in page


def test_every_query_is_valid(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": expression} for n, expression in enumerate(expressions().values())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_every_panel_has_a_description_and_uses_the_data_source_that_the_user_selects() -> None:
    for path in DASHBOARDS:
        for panel in dashboard(path)["panels"]:
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["title"]
            assert panel["description"], f"{path.stem}: {panel['title']}"
