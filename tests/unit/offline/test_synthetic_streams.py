"""Synthetic streams: reproducible from a seed, with perceptible events and their true times."""

from __future__ import annotations

from itertools import pairwise

import pytest

from model.data.homestream import SOURCES
from model.data.synthetic_streams import SECONDS, SyntheticStream, synthetic_streams
from model.labels import DIGITS, SOUNDS
from services.runtime.settings import ROOT

DATA = ROOT / "data"


@pytest.fixture(scope="module")
def synthetic() -> SyntheticStream:
    (stream,) = synthetic_streams(DATA, "val", 5, 1)
    return stream


def test_the_same_seed_makes_the_same_stream_and_another_seed_another(synthetic: SyntheticStream) -> None:
    (again,), (other,) = synthetic_streams(DATA, "val", 5, 1), synthetic_streams(DATA, "val", 6, 1)
    assert (again.messages, again.truth) == (synthetic.messages, synthetic.truth)
    assert again.sound.tobytes() == synthetic.sound.tobytes()
    assert other.truth != synthetic.truth


def test_events_follow_each_other_and_are_of_the_labels(synthetic: SyntheticStream) -> None:
    assert 12 <= len(synthetic.truth) <= 30
    assert {label for _, _, label in synthetic.truth} <= {*DIGITS, *SOUNDS}
    assert all(begin < end for begin, end, _ in synthetic.truth)
    assert all(before[1] < after[0] for before, after in pairwise(synthetic.truth))
    assert synthetic.truth[-1][1] < SECONDS


def test_messages_are_late_repeated_and_out_of_order_and_each_source_falls_silent_once(
    synthetic: SyntheticStream,
) -> None:
    arrived = [m.arrived_us for m in synthetic.messages]
    assert arrived == sorted(arrived)
    assert {m.source for m in synthetic.messages} == set(SOURCES)
    times_us = [m.t_us for m in synthetic.messages if m.source == "mic"]
    assert times_us != sorted(times_us) or len(set(times_us)) < len(times_us)
    longest_us = max(after - before for before, after in pairwise(sorted(set(times_us))))
    assert longest_us >= 6_000_000
    late = [m.arrived_us - m.t_us for m in synthetic.messages if m.source == "text"]
    assert max(late) > 1_500_000
