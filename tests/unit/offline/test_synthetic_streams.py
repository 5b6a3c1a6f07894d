"""Made streams: alike from a seed, with events that can be sensed, and a truth that says when."""

from __future__ import annotations

from itertools import pairwise

import pytest

from model.data.homestream import SOURCES
from model.data.synthetic_streams import SECONDS, SyntheticStream, synthetic_streams
from model.labels import DIGITS, SOUNDS
from services.runtime.settings import ROOT

DATA = ROOT / "data"


@pytest.fixture(scope="module")
def made() -> SyntheticStream:
    (stream,) = synthetic_streams(DATA, "val", 5, 1)
    return stream


def test_the_same_seed_makes_the_same_stream_and_another_seed_another(made: SyntheticStream) -> None:
    (again,), (other,) = synthetic_streams(DATA, "val", 5, 1), synthetic_streams(DATA, "val", 6, 1)
    assert (again.messages, again.truth) == (made.messages, made.truth)
    assert again.sound.tobytes() == made.sound.tobytes()
    assert other.truth != made.truth


def test_events_follow_each_other_and_are_of_the_labels(made: SyntheticStream) -> None:
    assert 12 <= len(made.truth) <= 30
    assert {label for _, _, label in made.truth} <= {*DIGITS, *SOUNDS}
    assert all(begin < end for begin, end, _ in made.truth)
    assert all(before[1] < after[0] for before, after in pairwise(made.truth))
    assert made.truth[-1][1] < SECONDS


def test_messages_are_late_repeated_and_out_of_order_and_each_source_falls_silent_once(made: SyntheticStream) -> None:
    arrived = [m.arrived_us for m in made.messages]
    assert arrived == sorted(arrived)
    assert {m.source for m in made.messages} == set(SOURCES)
    taken = [m.t_us for m in made.messages if m.source == "mic"]
    assert taken != sorted(taken) or len(set(taken)) < len(taken)
    longest_us = max(after - before for before, after in pairwise(sorted(set(taken))))
    assert longest_us >= 6_000_000
    late = [m.arrived_us - m.t_us for m in made.messages if m.source == "text"]
    assert max(late) > 1_500_000
