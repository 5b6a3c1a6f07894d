"""Traces of windows in a collector, and exemplars that name them."""

from __future__ import annotations

import re
from typing import Any

from services.contract import canonical, trace_context
from services.inspection.audit.collect import collect_topic
from services.kafka import clients
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings
from tests.integration.gateway import Gateway
from tests.integration.session import play_session, wait_for_predictions
from tests.integration.traces import TraceCollector
from tests.waiting import wait_until

PARTS = ["align_wait", "transport", "queue", "fetch", "decode", "encode", "fuse", "publish"]


async def test_each_predicted_window_is_a_trace_of_consecutive_spans(
    settings: Settings, services: dict[str, ServiceProcess], collector: TraceCollector, hand: bytes
) -> None:
    await play_session(settings, "traced", hand)
    predictions = await wait_for_predictions(settings, "traced")
    window_id = predictions[0]["id"].split("@")[0]
    trace_id = trace_context.trace_id(window_id)

    async def complete_trace() -> list[Any] | None:
        spans = collector.spans_of(trace_id)
        return spans if any(span.name == "window" for span in spans) else None

    spans = {span.name: span for span in await wait_until(complete_trace, "the trace of a window")}
    root = spans.pop("window")
    assert list(spans) == PARTS
    assert not root.parent_span_id
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    at = root.start_time_unix_nano
    for name in PARTS:
        assert spans[name].start_time_unix_nano == at
        at = spans[name].end_time_unix_nano
    assert at == root.end_time_unix_nano
    attributes = {a.key: a.value for a in root.attributes}
    assert attributes["braid.prediction"].string_value == predictions[0]["id"]
    batches = [span for name, span in list(collector.spans) if name == "braid-fusion" and span.name == "batch"]
    linked = [b for b in batches if (root.trace_id, root.span_id) in {(x.trace_id, x.span_id) for x in b.links}]
    assert len(linked) == 1, "one batch predicted it"


async def test_a_posted_record_continues_the_trace_of_its_device(
    settings: Settings, stack: LocalStack, collector: TraceCollector
) -> None:
    gateway = await Gateway(stack, 5, BRAID_TRACING__ENDPOINT=collector.url).start()
    trace_id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    try:
        for id, headers in (
            ("known", {"traceparent": f"00-{trace_id}-{span}-01"}),
            ("new", {}),
            ("bad", {"traceparent": "00-7"}),
        ):
            path = "api/v1/sessions/carried/text"
            sent = await gateway.request(path, b"number one", content_type="text/plain", ce_id=id, **headers)
            assert sent.status == 202
    finally:
        assert await gateway.process.child.stop() == 0
    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        raws = await collect_topic(reader, settings.topic_names().media("text"), settings.topics.partitions)
    headers = {
        h["ce_id"].decode(): h["traceparent"].decode() for h in (dict(r.headers) for r in raws if r.key == b"carried")
    }
    complete_trace = {span.span_id.hex(): span for name, span in list(collector.spans) if name == "braid-gateway"}
    assert {id: complete_trace[header.split("-")[2]].parent_span_id.hex() for id, header in headers.items()} == {
        "known": span,
        "new": "",
        "bad": "",
    }
    assert headers["known"].split("-")[1] == trace_id
    assert all(complete_trace[h.split("-")[2]].trace_id.hex() == h.split("-")[1] for h in headers.values())
    assert {one.name for one in complete_trace.values()} == {"ingest"}


async def test_exemplars_of_latency_metrics_name_traces(
    settings: Settings, services: dict[str, ServiceProcess], collector: TraceCollector, hand: bytes
) -> None:
    await play_session(settings, "exemplary", hand)
    await wait_for_predictions(settings, "exemplary")
    for service, histogram in (("fusion", "window_latency_seconds"), ("aligner", "alignment_wait_seconds")):
        text = services[service].get("/metrics", accept="application/openmetrics-text; version=1.0.0") or ""
        assert text.rstrip().endswith("# EOF"), "OpenMetrics"
        ids = re.findall(rf'^braid_{histogram}_bucket.* # {{trace_id="([0-9a-f]{{32}})"}} ', text, re.MULTILINE)
        assert ids, histogram

        async def known(ids: list[str] = ids) -> bool:
            return bool(set(ids) & {span.trace_id.hex() for _, span in list(collector.spans)})

        await wait_until(known, "a trace that an exemplar names")
    assert "trace_id" not in (services["fusion"].get("/metrics") or ""), "plain text has no exemplars"


async def test_a_prediction_names_the_trace_of_its_window(
    settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    await play_session(settings, "named", hand)
    await wait_for_predictions(settings, "named")
    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        raws = await collect_topic(reader, settings.topic_names().predictions, settings.topics.partitions)
    predictions = [raw for raw in raws if raw.key == b"named"]
    assert predictions
    for raw in predictions:
        window_id = canonical.loads_object(raw.value or b"")["id"].split("@")[0]
        assert trace_context.trace_id_of_header(dict(raw.headers)["traceparent"]) == trace_context.trace_id(window_id)
