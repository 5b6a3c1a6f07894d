"""`braid devices` and `braid tail` on topics with invalid records of other producers."""

from __future__ import annotations

from datetime import datetime

import pytest

from services.cli.source_devices import late_source, rejected_source
from services.cli.tail import render
from services.contract import canonical
from services.contract.kafka_record import KafkaRecord
from services.contract.prediction import LATENCY_HEADER
from services.contract.topics import Topics

INVALID = [b"", b"\xff\x00", b"[1, 2]", b"7", b'{"session": 7}', b'{"session": "s", "modality": "audio"}']
EVENT = {"session": "s", "lifecycle": "begin", "kind": "sound", "label": "dog", "confidence": 0.5, "final": True}
EVENT |= {"id": "s/1/dog", "start": 1_700_000_000_007_000}


@pytest.mark.parametrize("value", [None, *INVALID])
def test_invalid_late_record_has_no_source(value: bytes | None) -> None:
    assert late_source(value) is None


def test_late_record_has_the_source_of_its_chunk() -> None:
    record = {"session": "s", "modality": "audio", "source": "/devices/d/mic", "behind_us": 7}
    assert late_source(canonical.dumps(record)) == ("s", "audio", "/devices/d/mic")


def dead_letter(value: bytes | None, key: bytes | None = b"s") -> KafkaRecord:
    return KafkaRecord("braid.dead.v1", 0, 0, 0, key, [("braid-record-ce_source", b"/devices/d/mic")], value)


def test_an_event_at_an_impossible_time_has_no_line() -> None:
    assert render(canonical.dumps({**EVENT, "start": (1 << 63) - 1}), {}, True, False) is None


@pytest.mark.parametrize("value", [None, *INVALID])
def test_invalid_dead_letter_has_no_source(value: bytes | None) -> None:
    assert rejected_source(dead_letter(value), Topics()) is None


def test_dead_letter_has_the_source_of_its_record_and_the_reason() -> None:
    value = canonical.dumps({"topic": "braid.media.audio.v1", "reason": "quota"})
    assert rejected_source(dead_letter(value), Topics()) == (("s", "audio", "/devices/d/mic"), "quota")
    assert rejected_source(dead_letter(value, key=None), Topics()) is None


@pytest.mark.parametrize("is_event", [False, True])
@pytest.mark.parametrize("value", INVALID)
def test_invalid_prediction_or_event_has_no_line(value: bytes, is_event: bool) -> None:
    assert render(value, {}, is_event, as_json=False) is None


@pytest.mark.parametrize("value", INVALID[:4])
def test_record_that_is_not_an_object_has_no_json_line(value: bytes) -> None:
    assert render(value, {}, is_event=False, as_json=True) is None


def test_event_has_a_line_unless_its_latency_is_invalid() -> None:
    value = canonical.dumps(EVENT)
    time = f"{datetime.fromtimestamp(1_700_000_000):%H:%M:%S}.007"
    assert render(value, {}, True, False) == f"{time}  EVENT  s  begin sound dog 0.50  s/1/dog"
    assert render(value, {LATENCY_HEADER: b"{"}, True, False) is None
