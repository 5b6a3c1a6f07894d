"""Decoding of sensor readings, with the presence of each reading as part of the value."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from model.decode import BYTES_MAX, Undecodable, decode_sensor
from model.modality import MODALITIES


def decoded(values: Any) -> Any:
    return decode_sensor(json.dumps(values).encode(), "application/json")


def test_a_reading_is_encoded_as_value_and_presence() -> None:
    encoded = decoded({"temperature": 30, "motion": True, "door": "closed", "battery": 80})
    assert encoded.tolist() == [1, 1, 0, 1, 1, 1]
    assert encoded.dtype == np.float32
    assert decoded({"door": "open"}).tolist() == [0, 0, 1, 0, 0, 1]


def test_a_closed_door_differs_from_a_missing_reading() -> None:
    assert decoded({"motion": False, "door": "closed"}).tolist() != decoded({"motion": False}).tolist()


@pytest.mark.parametrize(
    "decoded_value",
    [
        {}, [], 3, "open", {"battery": 80}, {"temperature": None}, {"temperature": True}, {"temperature": "warm"},
        {"temperature": 1e9}, {"motion": 1}, {"door": "ajar"}, {"door": []}, {"temperature": float("nan")},
    ],
)  # fmt: skip
def test_an_invalid_reading_is_refused_with_a_reason(decoded_value: Any) -> None:
    assert isinstance(decoded(decoded_value), Undecodable)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"{", b"[" * 2_000, b'{"door": "open"}' + b" " * BYTES_MAX])
def test_the_sensor_decoder_never_raises(payload: bytes) -> None:
    assert isinstance(decode_sensor(payload, "application/json"), Undecodable)


def test_every_modality_reads_inline_values_or_files_of_a_manifest() -> None:
    assert [name for name, modality in MODALITIES.items() if modality.inline is None] == ["video", "audio"]
    assert len({field for modality in MODALITIES.values() for field in modality.fields}) == 5
