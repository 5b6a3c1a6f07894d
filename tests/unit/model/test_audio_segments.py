"""Audio on the hop grid: placement of samples, gaps and segment keys."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.audio_segments import Segment, TimedSamples, cut_segments

RATE, HOP_US = 8_000, 500_000
HOP = RATE * HOP_US // 1_000_000
END_US = 4 * HOP_US
SAMPLE_US = 125


def tone(count: int, value: float = 0.5) -> NDArray[np.float32]:
    return np.full(count, value, np.float32)


def segments_of(*stretches: TimedSamples) -> list[Segment]:
    return cut_segments(stretches, 0, END_US, HOP_US, RATE)


def test_a_chunk_on_the_grid_is_one_complete_segment_of_its_exact_samples() -> None:
    # grid   |0    |0.5  |1    |1.5  |2
    # mic          [#####]
    samples = np.random.default_rng(1).normal(0, 0.1, HOP).astype(np.float32)
    (segment,) = segments_of(TimedSamples(HOP_US, "mic", "1", samples))
    assert segment.start_us == HOP_US
    assert segment.complete
    assert segment.samples.tobytes() == samples.tobytes()
    assert segment.key == hashlib.sha256(samples.tobytes()).hexdigest()


def test_missing_samples_are_zero_and_make_the_segment_incomplete() -> None:
    # grid   |0    |0.5  |1    |1.5  |2
    # mic       [##|##]
    first, second = segments_of(TimedSamples(HOP_US // 2, "mic", "1", tone(HOP)))
    assert (first.start_us, second.start_us) == (0, HOP_US)
    assert first.received == second.received == HOP // 2
    assert not first.complete
    assert not first.samples[: HOP // 2].any()
    assert (first.samples[HOP // 2 :] == 0.5).all()
    assert not second.samples[HOP // 2 :].any()


def test_a_slot_without_samples_is_no_segment() -> None:
    segments = segments_of(TimedSamples(0, "mic", "1", tone(HOP)), TimedSamples(3 * HOP_US, "mic", "2", tone(HOP)))
    assert [s.start_us for s in segments] == [0, 3 * HOP_US]
    assert segments_of() == []


def test_received_silence_is_a_segment() -> None:
    (segment,) = segments_of(TimedSamples(0, "mic", "1", tone(HOP, 0.0)))
    assert segment.complete


def test_samples_beyond_the_window_are_ignored() -> None:
    # grid   |0    |0.5  |1    |1.5  |2
    # mic  [########################...]
    segments = segments_of(TimedSamples(-HOP_US, "mic", "1", tone(8 * HOP)))
    assert [s.start_us for s in segments] == [0, HOP_US, 2 * HOP_US, 3 * HOP_US]
    assert all(s.complete for s in segments)


def test_a_clock_jitter_of_20_ms_leaves_no_gap_and_a_larger_jump_does() -> None:
    #             previous end
    # mic  [#####]·[#####]       placed at the end of the chunk before: 160 samples = 20 ms
    for late_us, joined in ((20_000, True), (-20_000, True), (20_125, False), (-20_125, False)):
        first = TimedSamples(0, "mic", "1", tone(HOP, 0.1))
        second = TimedSamples(HOP_US + late_us, "mic", "2", tone(HOP, 0.2))
        received = sum(s.received for s in segments_of(first, second))
        at_place = segments_of(first, second)[1].samples[0] == np.float32(0.2)
        assert at_place == (joined or late_us < 0)
        assert received == 2 * HOP if joined or late_us > 0 else received < 2 * HOP


def test_sources_are_joined_independently() -> None:
    left = TimedSamples(0, "left", "1", tone(HOP, 0.1))
    right = TimedSamples(HOP_US + 10_000, "right", "1", tone(HOP - 80, 0.2))
    second = segments_of(left, right)[1]
    assert not second.samples[:80].any()
    assert second.samples[80] == np.float32(0.2)


def test_of_overlapping_chunks_the_first_by_time_source_and_id_wins() -> None:
    early = TimedSamples(0, "z", "9", tone(HOP, 0.1))
    late = TimedSamples(HOP_US // 2, "a", "1", tone(HOP, 0.2))
    first, second = segments_of(late, early)
    assert (first.samples == np.float32(0.1)).all()
    assert (second.samples[: HOP // 2] == np.float32(0.2)).all()
    (same_time,) = segments_of(TimedSamples(0, "b", "1", tone(HOP, 0.2)), TimedSamples(0, "a", "2", tone(HOP, 0.1)))
    assert (same_time.samples == np.float32(0.1)).all()


def test_times_before_1970_and_far_in_the_future_are_on_the_same_grid() -> None:
    samples = np.random.default_rng(2).normal(0, 0.1, HOP).astype(np.float32)
    keys = set()
    for origin_us in (-4 * HOP_US, 0, 1_700_000_000_000_000):
        stretch = TimedSamples(origin_us + HOP_US, "mic", "1", samples)
        (segment,) = cut_segments([stretch], origin_us, origin_us + END_US, HOP_US, RATE)
        assert segment.start_us == origin_us + HOP_US
        keys.add(segment.key)
    assert len(keys) == 1


@given(st.lists(st.integers(1, 4 * HOP - 1), max_size=12, unique=True), st.integers(0, 1_000))
def test_any_chunking_in_any_order_gives_the_same_segments(cuts: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).normal(0, 0.1, 4 * HOP).astype(np.float32)
    edges = [0, *sorted(cuts), len(samples)]
    pieces = [
        TimedSamples(begin * SAMPLE_US, "mic", str(number), samples[begin:end])
        for number, (begin, end) in enumerate(pairwise(edges))
    ]
    random.Random(seed).shuffle(pieces)
    assert [(s.start_us, s.received, s.key) for s in segments_of(*pieces)] == [
        (s.start_us, s.received, s.key) for s in segments_of(TimedSamples(0, "mic", "0", samples))
    ]


@given(st.integers(0, 3), st.integers(1, 6))
def test_a_segment_is_the_same_in_every_window_that_holds_it(first: int, chunks: int) -> None:
    stretches = [TimedSamples(i * HOP_US, "mic", str(i), tone(HOP, 0.1 * (i + 1))) for i in range(chunks)]
    everything = {s.start_us: s.key for s in cut_segments(stretches, 0, 8 * HOP_US, HOP_US, RATE)}
    begin_us = first * HOP_US
    for segment in cut_segments(stretches, begin_us, begin_us + END_US, HOP_US, RATE):
        assert everything[segment.start_us] == segment.key
