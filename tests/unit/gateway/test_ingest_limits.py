"""Limits of what HTTP accepts."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from services.aligner.alignment import Aligner, fate_name
from services.contract.alignment_config import AlignmentConfig, Quotas
from services.contract.chunk import Chunk
from services.contract.topics import Topics
from services.gateway import ingest_limits
from services.gateway.ingest import IngestHandler
from services.gateway.ingest_limits import ClientLimits, IngestQuotas
from services.runtime.device_directory import DeviceDirectory
from services.runtime.metric_definitions import GatewayMetrics

HOP_US = 500_000
CONFIG = AlignmentConfig(
    quotas=Quotas(source_records_per_s=6, source_bytes_per_s=200, session_bytes_per_s=300, session_sources_max=2)
)
CHUNKS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["a", "b", "c"]), st.integers(1, 60), st.sampled_from(["s", "t"])),
    max_size=60,
)


@given(CHUNKS)
def test_http_rejects_exactly_what_alignment_rejects_for_a_quota(sent: list[tuple[int, str, int, str]]) -> None:
    aligner, quotas = Aligner(CONFIG, {}), IngestQuotas(CONFIG, 1)
    # In order, so that nothing is late.
    for offset, (hop, source, size, session) in enumerate(sorted(sent, key=lambda one: one[0])):
        t_us = hop * HOP_US + offset
        chunk = Chunk(session, "text", source, str(offset), t_us, 0, "x", 0, offset, t_us, size, 0)
        fate, _ = aligner.add_chunk(chunk, 0)
        assert (quotas.count(chunk, 0) is not None) == (fate_name(fate) == "quota")


def test_counts_of_the_oldest_hops_are_forgotten_at_the_limit() -> None:
    quotas = IngestQuotas(CONFIG, 1)
    for n in range(3 * ingest_limits.HOPS_MAX):
        assert quotas.count(Chunk(f"s{n}", "text", f"of {n}", "1", 0, 0, "x", 0, n, 0, 1, 0), 0) is None
    assert len(quotas._hops) == ingest_limits.HOPS_MAX


def test_source_in_too_many_sessions_may_send_again_when_the_period_ends() -> None:
    quotas = IngestQuotas(AlignmentConfig(quotas=Quotas(source_sessions_max=2)), 1)

    def send(session: str, source: str, now_us: int) -> int | None:
        exceeded = quotas.count(Chunk(session, "text", source, "1", now_us, 0, "x", 0, 0, 0, 1, 0), now_us)
        return None if exceeded is None else exceeded.retry_after_s

    sent = [("s", "a"), ("t", "a"), ("u", "a"), ("u", "b"), ("s", "a")]
    assert [send(*one, 7_500_000) for one in sent] == [None, None, 3, None, None]
    assert send("u", "a", 10_000_000) is None


def test_client_over_its_rate_may_send_again_after_the_time_it_is_given() -> None:
    limits = ClientLimits(records_per_s=2, sessions_max=9)
    burst = 2 * ingest_limits.BURST_S
    assert [limits.count_record("a", 0.0) for _ in range(burst)] == [None] * burst
    exceeded = limits.count_record("a", 0.0)
    assert exceeded is not None
    assert exceeded.retry_after_s == 1
    assert limits.count_record("b", 0.0) is None, "another client"
    assert [limits.count_record("a", 1.0) is None for _ in range(3)] == [True, True, False]


def test_client_at_its_sessions_may_go_on_with_these_and_add_one_when_another_is_silent() -> None:
    limits = ClientLimits(records_per_s=100, sessions_max=2)
    assert [limits.count_session("a", name, at_s) for name, at_s in (("x", 0), ("y", 1), ("x", 10))] == [None] * 3
    exceeded = limits.count_session("a", "z", 20)
    assert exceeded is not None
    assert exceeded.retry_after_s == 41, "until y counts no more"
    assert limits.count_session("a", "z", 61) is None
    assert limits.count_session("a", "y", 62) is not None


def test_clients_are_forgotten_at_their_limit() -> None:
    limits = ClientLimits(1, 1)
    for n in range(2 * ingest_limits.CLIENTS_MAX):
        limits.count_record(str(n), 0.0)
    assert len(limits._clients) == ingest_limits.CLIENTS_MAX


def test_request_over_the_rate_is_answered_with_429_and_when_to_try_again() -> None:
    registry = CollectorRegistry()
    unused = cast(Any, None)
    handler = IngestHandler(
        unused,
        Topics(),
        CONFIG,
        1_000,
        DeviceDirectory({}),
        ClientLimits(1, 1),
        IngestQuotas(CONFIG, 1),
        GatewayMetrics(registry),
        unused,
    )
    client = TestClient(Starlette(routes=[Route("/{session}/{modality}", handler.post, methods=["POST"])]))
    answers = [client.post("/s/text", content=b"\xff") for _ in range(ingest_limits.BURST_S + 1)]
    assert [answer.status_code for answer in answers] == [422] * ingest_limits.BURST_S + [429]
    assert int(answers[-1].headers["retry-after"]) == 1
    assert answers[-1].json()["reason"] == "rate"
    assert registry.get_sample_value("braid_gateway_media_refused_total", {"reason": "rate"}) == 1
