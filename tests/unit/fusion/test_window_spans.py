"""The spans of a batch, from the latency parts of its predictions; ids are derived from windows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from services.contract import trace_context
from services.contract.prediction import PredictionResult
from services.contract.window import Window
from services.fusion.batching import ReleasedBatch
from services.fusion.metrics import SHARED, FusionObserver, window_spans
from services.fusion.publish import PublishedPrediction
from services.fusion.stage_values import WindowPrediction
from services.runtime.metric_definitions import FusionMetrics, make_registry
from services.runtime.settings import load
from services.runtime.tracing import Tracer

S = 1_000_000
PARTS = [("align_wait", 1500.0), ("transport", 2.0), ("queue", 3.0), *((name, 1.0) for name in SHARED)]
RELEASED = ReleasedBatch((), (), "idle", 0)


def published(start_s: int) -> PublishedPrediction:
    window = Window("s", start_s * S, (start_s + 2) * S, None, True, "c", {}, (start_s + 1) * S, (start_s + 3) * S)
    answer = PredictionResult("dog", 0.9, 0.0, 0.0, (), 0.0, None, False)
    return PublishedPrediction(
        3, WindowPrediction(f"{window.id}@m", window, b"", answer, np.zeros(1), ()), None, (), (), PARTS
    )


def test_a_window_span_begins_with_its_first_record_and_its_parts_fill_it() -> None:
    *parts, root, batch = window_spans([published(0)], RELEASED, 1)
    assert [part.name for part in parts] == [name for name, _ in PARTS]
    assert {part.parent for part in parts} == {root.id}
    assert [part.begins_us for part in parts[1:]] == [part.ends_us for part in parts[:-1]]
    assert (root.begins_us, parts[0].begins_us, parts[-1].ends_us) == (S, S, root.ends_us)
    assert root.ends_us - root.begins_us == 1_510_000
    assert (batch.ends_us, batch.ends_us - batch.begins_us) == (root.ends_us, 5_000)


def test_a_batch_span_is_linked_to_each_of_its_windows() -> None:
    both = [published(0), published(1)]
    batch = window_spans(both, RELEASED, 1)[-1]
    ids = [one.prediction.window.id for one in both]
    assert list(batch.links) == [(trace_context.trace_id(id), trace_context.span_id(id)) for id in ids]
    assert batch.trace_id not in {trace_context.trace_id(id) for id in ids}


def test_the_same_windows_are_traced_everywhere_and_none_if_traces_are_off() -> None:
    ids = [f"s/{n}/1" for n in range(2_000)]
    some = {id for id in ids if trace_context.is_traced(id, 0.25)}
    assert 400 < len(some) < 600
    assert some <= {id for id in ids if trace_context.is_traced(id, 0.5)}
    assert all(trace_context.is_traced(id, 1) for id in ids)
    assert window_spans([published(n) for n in range(9)], RELEASED, 0) == []


@pytest.mark.parametrize("header", [None, b"", b"00-zz-1-01", b"00-" + b"a" * 32 + b"-" + b"b" * 16])
def test_a_header_of_another_form_names_no_trace(header: bytes | None) -> None:
    assert trace_context.trace_id_of_header(trace_context.traceparent("s/1/1")) == trace_context.trace_id("s/1/1")
    assert trace_context.trace_id_of_header(header) is None


def test_a_count_that_begins_anew_after_a_failure_of_kafka_does_not_end_the_worker() -> None:
    registry = make_registry("fusion")
    observer = FusionObserver(FusionMetrics(registry), Tracer(load().tracing, "fusion"))
    for count in (3, 1, 2):
        observer.reloads(SimpleNamespace(outcomes={"served": count}))  # type: ignore[arg-type]
    assert registry.get_sample_value("braid_model_reloads_total", {"outcome": "served"}) == 4
