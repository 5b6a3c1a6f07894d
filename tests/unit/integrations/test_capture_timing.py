"""Event times of a captured stream, and its audio in chunks without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integrations.capture.audio_chunker import AudioChunker, PcmChunk
from services.integrations.capture.stream_clock import DRIFT_US, MINUTE_US, StreamClock

S = 1_000_000
NOW = 1_700_000_000 * S


def clock_after(delays_us: Sequence[int], every_us: int = 100_000, speed: float = 1.0) -> StreamClock:
    """Observe items of a stream that begins at NOW, each with its delay; `speed` is that of the stream's clock."""
    clock = StreamClock()
    for n, delay_us in enumerate(delays_us):
        clock.observe(int(n * every_us * speed), NOW + n * every_us + delay_us)
    return clock


def test_items_that_waited_while_the_stream_was_opened_do_not_count() -> None:
    clock = StreamClock()
    for n in range(20):  # two seconds at once
        clock.observe(n * 100_000, NOW + 2 * S)
    assert not clock.settled
    for n in range(20, 27):
        clock.observe(n * 100_000, NOW + n * 100_000 + 30_000)
    assert clock.settled
    assert clock.event_time_us(0) == NOW + 30_000


def test_jitter_after_the_start_changes_nothing() -> None:
    clock = clock_after([40_000, 60_000, 50_000, 90_000, 45_000, 400_000, 41_000, 700_000, 10_000])
    assert clock.event_time_us(0) == NOW + 40_000


def test_a_stream_that_stalls_and_catches_up_keeps_its_times() -> None:
    clock = clock_after([0] * 10 + [5 * S, 4 * S, 3 * S, 2 * S, S, 0])
    assert clock.event_time_us(0) == NOW


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_drift_is_followed_and_no_item_ends_in_the_future(speed: float) -> None:
    clock, every_us, ahead = StreamClock(), 100_000, []
    for n in range(3_000):
        now_us = NOW + n * every_us
        clock.observe(int(n * every_us * speed), now_us)
        if clock.settled:
            ahead.append(clock.event_time_us(int(n * every_us * speed)) - now_us)
    assert max(ahead) <= DRIFT_US
    assert min(ahead) >= -DRIFT_US - 2 * MINUTE_US // 10, "two minutes behind at the most"


def test_there_are_no_times_before_the_first_item() -> None:
    with pytest.raises(ValueError, match="no item"):
        StreamClock().event_time_us(0)


def chunks_of(chunker: AudioChunker, pieces: Sequence[tuple[bytes, int]]) -> list[PcmChunk]:
    return [chunk for body, t_us in pieces for chunk in chunker.add(body, 16_000, 1, t_us)] + list(chunker.flush())


@given(st.lists(st.tuples(st.integers(1, 5_000), st.integers(-90_000, 90_000)), min_size=1, max_size=30))
def test_audio_is_complete_in_order_and_without_gaps_despite_jitter(pieces: list[tuple[int, int]]) -> None:
    bodies, at = [], 0
    for samples, jitter_us in pieces:
        bodies.append((bytes([samples % 256, 1]) * samples, NOW + at * S // 16_000 + (jitter_us if at else 0)))
        at += samples
    chunks = chunks_of(AudioChunker(200_000), bodies)
    assert b"".join(chunk.body for chunk in chunks) == b"".join(body for body, _ in bodies)
    assert chunks[0].t_us == NOW
    for before, after in pairwise(chunks):
        assert before.ends_us == after.t_us
    assert chunks[-1].ends_us == NOW + at * S // 16_000


def test_lost_audio_leaves_a_gap() -> None:
    second = bytes(32_000)
    assert [chunk.t_us for chunk in chunks_of(AudioChunker(100_000), [(second, NOW), (second, NOW + 2 * S)])] == [
        NOW,
        NOW + 2 * S,
    ]
