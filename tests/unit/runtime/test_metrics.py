"""Metrics are named and labelled as the page about them says, and times fall into the buckets that it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.runtime.health import HealthServer, Progress
from services.runtime.metrics import (
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
OF_NO_TIMES = {"braid_contribution", "braid_batch_windows"}


def _of_every_service(registry: CollectorRegistry) -> None:
    HealthServer("127.0.0.1", 0, "aligner", Progress(60), registry).close()


def _registered(make: Callable[[CollectorRegistry], Any]) -> list[Any]:
    registry = CollectorRegistry()
    make(registry)
    return list(registry._collector_to_names)


def _named(metric: Any) -> str:
    name = metric._name + ENDINGS.get(metric._type, "")
    return f"{name}{{{','.join(metric._labelnames)}}}" if metric._labelnames else name


def _told(heading: str) -> set[str]:
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
def test_the_page_names_every_metric_of_a_service_with_its_labels_and_no_other(heading: str) -> None:
    told = {name for name in _told(heading) if not name.startswith("braid_model_info")}
    assert told == {_named(m) for m in _registered(SERVICES[heading]) if m._type != "info"}


def test_what_every_service_says_of_itself_stands_on_the_page() -> None:
    (build,) = make_registry("aligner").collect()
    labels = ",".join(sorted(build.samples[0].labels))
    assert _told("Every service") == {f"braid_build_info{{{labels}}}"} | {_named(*_registered(_of_every_service))}


def test_times_fall_into_the_buckets_that_the_page_names() -> None:
    line = re.search(r"have the buckets ([0-9, \n]+) ms and ([0-9., ]+) s\.", PAGE)
    assert line is not None
    ms, s = ([float(part) for part in group.split(",")] for group in line.groups())
    told = [value / 1000 for value in ms] + s
    histograms = [m for make in SERVICES.values() for m in _registered(make) if m._type == "histogram"]
    assert {m._name for m in histograms if not m._name.endswith("_seconds")} == OF_NO_TIMES
    for metric in histograms:
        assert (list(metric._kwargs["buckets"]) == told) == (metric._name not in OF_NO_TIMES), metric._name
