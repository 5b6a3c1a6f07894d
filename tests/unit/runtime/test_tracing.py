"""Traces without a collector, and without an installed exporter."""

from __future__ import annotations

import sys
import threading

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from services.local.ports import free_ports
from services.runtime import tracing
from services.runtime.settings import SettingsError, load
from services.runtime.tracing import Span, Tracer

SPAN = Span("window", "ab" * 16, "cd" * 8, None, 1, 2)


def test_without_an_endpoint_nothing_is_sent_or_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    tracer = Tracer(load().tracing, "test")
    tracer.export([SPAN])
    tracer.close()
    assert tracer.share == 0


def test_an_endpoint_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"braid\[otel\]"):
        Tracer(load(tracing={"endpoint": "http://127.0.0.1:4318"}).tracing, "test")


def test_spans_are_accepted_while_the_collector_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXPORT_TIMEOUT_S", 1)
    (port,) = free_ports(1)
    tracer = Tracer(load(tracing={"endpoint": f"http://127.0.0.1:{port}"}).tracing, "test")
    answered = threading.Event()

    def export(spans: object) -> SpanExportResult:
        answered.wait()
        return SpanExportResult.FAILURE

    monkeypatch.setattr(tracer._exporter, "export", export)
    # More spans than the queue holds: this would never return if the exporter were waited for.
    for _ in range(1_000):
        tracer.export([SPAN] * 20)
    answered.set()
    tracer.close()


def test_closing_gives_up_on_a_collector_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "EXPORT_TIMEOUT_S", 1)
    (port,) = free_ports(1)
    tracer = Tracer(load(tracing={"endpoint": f"http://127.0.0.1:{port}"}).tracing, "test")
    tracer.export([SPAN] * 20)
    tracer.close()


def test_invalid_endpoint_is_rejected() -> None:
    with pytest.raises(SettingsError, match="endpoint"):
        load(tracing={"endpoint": "127.0.0.1:4318"})
