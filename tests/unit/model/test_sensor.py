"""Readings of sensors: what is taken, what is not, and that which of them were made is part of the value."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from model.decode import BYTES_MAX, Undecodable, decode_sensor
from model.modality import MODALITIES


def decoded(read: Any) -> Any:
    return decode_sensor(json.dumps(read).encode(), "application/json")


def test_a_reading_is_its_value_and_that_it_was_made() -> None:
    made = decoded({"temperature": 30, "motion": True, "door": "closed", "battery": 80})
    assert made.tolist() == [1, 1, 0, 1, 1, 1]
    assert made.dtype == np.float32
    assert decoded({"door": "open"}).tolist() == [0, 0, 1, 0, 0, 1]


def test_a_closed_door_and_a_door_that_nobody_looked_at_are_not_the_same() -> None:
    assert decoded({"motion": False, "door": "closed"}).tolist() != decoded({"motion": False}).tolist()


@pytest.mark.parametrize(
    "read",
    [
        {}, [], 3, "open", {"battery": 80}, {"temperature": None}, {"temperature": True}, {"temperature": "warm"},
        {"temperature": 1e9}, {"motion": 1}, {"door": "ajar"}, {"door": []}, {"temperature": float("nan")},
    ],
)  # fmt: skip
def test_what_is_no_reading_is_refused_in_words(read: Any) -> None:
    assert isinstance(decoded(read), Undecodable)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"{", b"[" * 2_000, b'{"door": "open"}' + b" " * BYTES_MAX])
def test_no_bytes_whatever_raise(payload: bytes) -> None:
    assert isinstance(decode_sensor(payload, "application/json"), Undecodable)


def test_every_modality_reads_what_a_manifest_gives_it_or_names_a_file() -> None:
    assert [name for name, modality in MODALITIES.items() if modality.inline is None] == ["video", "audio"]
    assert len({field for modality in MODALITIES.values() for field in modality.fields}) == 5
