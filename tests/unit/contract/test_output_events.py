"""The official CloudEvents SDK reads what the services publish, and the same record always has the same headers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from hypothesis import given
from hypothesis import strategies as st

from services.contract import timestamps
from services.contract.output_events import FUSION_SOURCE, OutputHeaders, OutputKind, time_header
from services.contract.record_fields import TIME_US_MAX, TIME_US_MIN
from services.runtime.schema_documents import files

T_US = 1_795_514_400_123_456


@pytest.mark.parametrize("kind", ["window", "prediction", "event", "late", "dead"])
def test_the_sdk_reads_the_attributes_and_the_schema_they_name_is_published(kind: OutputKind) -> None:
    headers = OutputHeaders(kind, FUSION_SOURCE).build("küche/7", "küche".encode(), T_US)
    assert len(dict(headers)) == len(headers)
    read = from_kafka_event(KafkaMessage(dict(headers), "küche".encode(), b'{"session":"k"}'))
    assert (read.get_specversion(), read.get_type(), read.get_source()) == ("1.0", f"braid.{kind}.v1", "/braid/fusion")
    assert (read.get_id(), read.get_subject(), read.get_data()) == ("küche/7", "küche", {"session": "k"})
    assert (read.get_time(), read.get_datacontenttype()) == (
        datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC),
        "application/json",
    )
    assert read.get_dataschema() == json.loads(files()[f"{kind}.schema.json"])["$id"]


def test_one_record_does_not_change_the_headers_of_the_next() -> None:
    output = OutputHeaders("dead", FUSION_SOURCE)
    output.build("1", b"s", 0).append(("x", b""))
    assert dict(output.build("2", None, None)).keys().isdisjoint({"x", "ce_subject", "ce_time"})


@given(st.integers(TIME_US_MIN, TIME_US_MAX))
def test_the_time_is_that_of_the_timestamps_of_devices(t_us: int) -> None:
    assert time_header(t_us) == ("ce_time", timestamps.format_us(t_us).encode())
