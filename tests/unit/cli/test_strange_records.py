"""Verbs that look go on where somebody else wrote into a topic of ours."""

from __future__ import annotations

import pytest

from services.cli.devices import late_of
from services.cli.tail import told_of
from services.contract import canonical
from services.contract.prediction import LATENCY_HEADER

STRANGE = [None, b"", b"\xff\x00", b"[1, 2]", b"7", b'{"session": 7}', b'{"session": "s", "modality": "audio"}']
EVENT = {"session": "s", "lifecycle": "begin", "kind": "sound", "label": "dog", "confidence": 0.5, "final": True}


@pytest.mark.parametrize("value", STRANGE)
def test_a_late_record_that_is_none_of_ours_says_whose_it_is_to_nobody(value: bytes | None) -> None:
    assert late_of(value) is None


def test_a_late_record_says_whose_chunk_it_was() -> None:
    record = {"session": "s", "modality": "audio", "source": "/devices/d/mic", "behind_us": 7}
    assert late_of(canonical.dumps(record)) == ("s", "audio", "/devices/d/mic")


@pytest.mark.parametrize("is_event", [False, True])
@pytest.mark.parametrize("value", STRANGE[1:])
def test_what_is_no_prediction_and_no_event_has_no_line(value: bytes, is_event: bool) -> None:
    assert told_of(value, {}, is_event, as_json=False) is None


@pytest.mark.parametrize("value", STRANGE[1:5])
def test_what_is_no_object_has_none_as_json_either(value: bytes) -> None:
    assert told_of(value, {}, is_event=False, as_json=True) is None


def test_an_event_has_one_and_a_latency_that_is_none_spoils_only_its_own_record() -> None:
    value = canonical.dumps(EVENT)
    assert told_of(value, {}, True, False) == "EVENT  s  begin sound dog 0.50"
    assert told_of(value, {LATENCY_HEADER: b"{"}, True, False) is None
