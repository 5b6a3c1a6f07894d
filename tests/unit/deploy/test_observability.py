"""Alert rules, dashboards and the queries of ScaledObjects, judged by Prometheus' own tool; that their metrics exist is tests/integration/test_metrics.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from services.runtime.settings import ROOT
from tests.integration.mosquitto import system_binary
from tests.unit.deploy.queries import DASHBOARDS, DEPLOY, RULES, dashboard, expressions
from tests.waiting import DEADLINE_S

CASES = Path(__file__).parent / "alerts.test.yml"


def promtool(*words: str) -> None:
    done = subprocess.run(
        [system_binary("promtool", "prometheus"), *words], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    promtool("check", "config", str(DEPLOY / "prometheus.yml"))
    promtool("check", "rules", str(DEPLOY / "alerts.yml"))


def test_a_killed_aligner_a_silent_modality_and_a_stopped_redis_each_fire_their_alert() -> None:
    promtool("test", "rules", str(CASES))


@pytest.mark.parametrize("name", [rule["alert"] for rule in RULES])
def test_every_alert_has_a_case_in_which_it_fires_and_a_line_that_says_what_to_do(name: str) -> None:
    assert name in CASES.read_text()
    assert f"| `{name}` |" in (ROOT / "docs" / "operate.md").read_text()


def test_every_query_is_one(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": expression} for n, expression in enumerate(expressions().values())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", str(file))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_loads_under_any_name_of_the_data_source_and_its_panels_do_not_overlap(path: Path) -> None:
    board = dashboard(path)
    assert board["uid"] == f"braid-{path.stem}"
    assert {v["name"] for v in board["templating"]["list"]} == {"datasource"}
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        assert panel["description"], f"{panel['title']}: what does it tell?"
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not own & cells
        cells |= own


def test_there_are_the_four_dashboards() -> None:
    assert [path.stem for path in DASHBOARDS] == ["alignment", "infrastructure", "model", "overview"]
