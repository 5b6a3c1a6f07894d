"""docs/metrics.md lists every metric with its labels and buckets."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.runtime.health import HealthServer, Progress
from services.runtime.metric_definitions import (
    FETCHES,
    RECORDS_SKIPPED,
    AlignerMetrics,
    FusionMetrics,
    GatewayMetrics,
    MqttMetrics,
    WyomingMetrics,
    make_registry,
)
from services.runtime.settings import ROOT

PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
ENDINGS = {"counter": "_total", "info": "_info"}
NOT_DURATIONS = {"braid_contribution", "braid_batch_windows"}


def _common_metrics(registry: CollectorRegistry) -> None:
    HealthServer("127.0.0.1", 0, "aligner", Progress(60), registry).close()


def _registered(make: Callable[[CollectorRegistry], Any]) -> list[Any]:
    registry = CollectorRegistry()
    make(registry)
    return list(registry._collector_to_names)


def _name_and_labels(metric: Any) -> str:
    name = metric._name + ENDINGS.get(metric._type, "")
    return f"{name}{{{','.join(metric._labelnames)}}}" if metric._labelnames else name


def _documented(heading: str) -> set[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


SERVICES: dict[str, Callable[[CollectorRegistry], Any]] = {
    "Aligner": AlignerMetrics,
    "Fusion worker": FusionMetrics,
    "Gateway": GatewayMetrics,
    "Bridge to MQTT": MqttMetrics,
    "Bridge from Wyoming": WyomingMetrics,
}


@pytest.mark.parametrize("heading", SERVICES)
def test_page_lists_every_metric_of_a_service_with_its_labels(heading: str) -> None:
    documented = {name for name in _documented(heading) if not name.startswith("braid_model_info")}
    assert documented == {_name_and_labels(m) for m in _registered(SERVICES[heading]) if m._type != "info"}


def test_page_lists_the_metrics_of_every_service() -> None:
    build = next(metric for metric in make_registry("aligner").collect() if metric.name == "braid_build")
    labels = ",".join(sorted(build.samples[0].labels))
    assert _documented("Every service") == {f"braid_build_info{{{labels}}}"} | {
        _name_and_labels(metric) for metric in (FETCHES, RECORDS_SKIPPED, *_registered(_common_metrics))
    }


def test_page_names_the_buckets_of_durations() -> None:
    line = re.search(r"have the buckets ([0-9, \n]+) ms and ([0-9., ]+) s\.", PAGE)
    assert line is not None
    ms, s = ([float(part) for part in group.split(",")] for group in line.groups())
    documented = [value / 1000 for value in ms] + s
    histograms = [m for make in SERVICES.values() for m in _registered(make) if m._type == "histogram"]
    assert {m._name for m in histograms if not m._name.endswith("_seconds")} == NOT_DURATIONS
    for metric in histograms:
        assert (list(metric._kwargs["buckets"]) == documented) == (metric._name not in NOT_DURATIONS), metric._name
