"""A stream's own times as event times, and its sound without gaps: no device, no clock."""

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


def a_line(ways_us: Sequence[int], every_us: int = 100_000, speed: float = 1.0) -> StreamClock:
    """Items of a stream that begins at NOW, each as much later as its way is long; speed: of the stream's clock."""
    line = StreamClock()
    for n, way_us in enumerate(ways_us):
        line.observe(int(n * every_us * speed), NOW + n * every_us + way_us)
    return line


def test_what_waited_while_the_stream_was_opened_does_not_count() -> None:
    line = StreamClock()
    for n in range(20):  # two seconds at once
        line.observe(n * 100_000, NOW + 2 * S)
    assert not line.settled
    for n in range(20, 27):
        line.observe(n * 100_000, NOW + n * 100_000 + 30_000)
    assert line.settled
    assert line.event_time_us(0) == NOW + 30_000


def test_jitter_after_the_start_moves_nothing() -> None:
    line = a_line([40_000, 60_000, 50_000, 90_000, 45_000, 400_000, 41_000, 700_000, 10_000])
    assert line.event_time_us(0) == NOW + 40_000


def test_a_line_that_stalls_and_catches_up_keeps_its_times() -> None:
    line = a_line([0] * 10 + [5 * S, 4 * S, 3 * S, 2 * S, S, 0])
    assert line.event_time_us(0) == NOW


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_a_clock_that_runs_otherwise_is_followed_and_no_item_ends_in_the_future(speed: float) -> None:
    line, every_us, ahead = StreamClock(), 100_000, []
    for n in range(3_000):
        now_us = NOW + n * every_us
        line.observe(int(n * every_us * speed), now_us)
        if line.settled:
            ahead.append(line.event_time_us(int(n * every_us * speed)) - now_us)
    assert max(ahead) <= DRIFT_US
    assert min(ahead) >= -DRIFT_US - 2 * MINUTE_US // 10, "two minutes behind at the most"


def test_nothing_seen_has_no_times() -> None:
    with pytest.raises(ValueError, match="no item"):
        StreamClock().event_time_us(0)


def told(line: AudioChunker, pieces: Sequence[tuple[bytes, int]]) -> list[PcmChunk]:
    return [sound for body, t_us in pieces for sound in line.add(body, 16_000, 1, t_us)] + list(line.flush())


@given(st.lists(st.tuples(st.integers(1, 5_000), st.integers(-90_000, 90_000)), min_size=1, max_size=30))
def test_sound_is_told_whole_in_order_and_without_gaps_whatever_the_jitter(pieces: list[tuple[int, int]]) -> None:
    given_, at = [], 0
    for samples, jitter_us in pieces:
        given_.append((bytes([samples % 256, 1]) * samples, NOW + at * S // 16_000 + (jitter_us if at else 0)))
        at += samples
    out = told(AudioChunker(200_000), given_)
    assert b"".join(sound.body for sound in out) == b"".join(body for body, _ in given_)
    assert out[0].t_us == NOW
    for before, after in pairwise(out):
        assert before.ends_us == after.t_us
    assert out[-1].ends_us == NOW + at * S // 16_000


def test_sound_that_was_lost_leaves_a_gap() -> None:
    second = bytes(32_000)
    assert [sound.t_us for sound in told(AudioChunker(100_000), [(second, NOW), (second, NOW + 2 * S)])] == [
        NOW,
        NOW + 2 * S,
    ]
