"""Quotas of sources and sessions, and the bytes of a window record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.aligner.alignment import Aligner, Late, fate_name
from services.aligner.session import SOURCES_MAX, Stream
from services.contract.alignment_config import AlignmentConfig, Quotas, config_from_json, member_bytes
from services.contract.chunk import Chunk
from services.contract.dead_letter import Rejected
from services.contract.quotas import OpenSessions

# Hops of half a second: 2 records, 100 bytes and 8 pixels of a source, 150 bytes and 12 pixels of a session.
QUOTAS = Quotas(
    source_records_per_s=4,
    source_bytes_per_s=200,
    source_pixels_per_s=16,
    session_bytes_per_s=300,
    session_pixels_per_s=24,
    session_sources_max=2,
)
CONFIG = AlignmentConfig(quotas=QUOTAS)
SECOND = 1_000_000


class Log:
    """Sends chunks of one session and modality to an aligner."""

    def __init__(self, config: AlignmentConfig = CONFIG) -> None:
        self.aligner = Aligner(config, {})
        self.offset = 0

    def send(self, t_us: int, source: str = "a", size: int = 1, pixels: int = 0, session: str = "s") -> str:
        fate, _ = self.aligner.add_chunk(
            Chunk(session, "video", source, str(self.offset), t_us, 0, "x", 0, self.offset, t_us, size, pixels), 0
        )
        self.offset += 1
        return fate_name(fate)


def test_source_over_its_records_is_rejected_until_the_next_hop() -> None:
    log = Log()
    assert [log.send(t) for t in (0, 1, 2, SECOND // 2)] == ["windowed", "windowed", "quota", "windowed"]


def test_source_over_its_bytes_is_rejected_and_a_smaller_chunk_still_fits() -> None:
    log = Log()
    assert [log.send(t, size=size) for t, size in ((0, 60), (1, 60), (2, 40))] == ["windowed", "quota", "windowed"]


def test_one_image_in_each_hop_is_accepted_whatever_its_pixels() -> None:
    log = Log()
    assert [log.send(t, pixels=p) for t, p in ((0, 50), (1, 1), (2, 0))] == ["windowed", "quota", "windowed"]


def test_other_sources_and_sessions_are_not_harmed_by_one_over_its_quota() -> None:
    log = Log()
    for t in range(5):
        log.send(t)
    assert log.send(6, source="b") == "windowed"
    assert log.send(7, session="other") == "windowed"


def test_session_is_limited_in_bytes_pixels_and_sources_over_all_sources() -> None:
    log = Log()
    assert [log.send(t, source, 80) for t, source in ((0, "a"), (1, "b"))] == ["windowed", "quota"]
    log = Log()
    assert [log.send(t, source, pixels=7) for t, source in ((0, "a"), (1, "b"))] == ["windowed", "quota"]
    log = Log()
    assert [log.send(t, str(t)) for t in range(3)] == ["windowed", "windowed", "quota"]


def test_rejected_chunk_raises_no_watermark_and_is_not_retained() -> None:
    log = Log()
    log.send(0)
    log.send(1)
    assert log.send(2) == "quota"
    assert log.aligner.sessions["s"].streams["video"].watermark_us == 1
    assert len(log.aligner.retained["video"]) == 2


def test_late_chunk_is_late_and_not_over_its_quota() -> None:
    log = Log()
    log.send(0)
    log.send(20 * SECOND)
    fate, _ = log.aligner.add_chunk(Chunk("s", "video", "a", "x", 1, 0, "x", 0, 9, 1), 0)
    assert isinstance(fate, Late)


def test_a_burst_of_old_records_counts_at_its_event_times() -> None:
    log = Log()
    assert {log.send(n * SECOND // 4) for n in range(100)} == {"windowed"}


@pytest.mark.parametrize("name", ["a" * 10, "\x01" * 250])
def test_members_fit_the_bytes_of_their_share_of_the_window_record(name: str) -> None:
    config = replace(CONFIG, quotas=None, window_bytes_max=3 * 3 * member_bytes(name, "0"))
    log = Log(config)
    assert [log.send(0, name) for _ in range(4)] == ["windowed", "windowed", "windowed", "limit"]


def test_a_source_may_send_to_other_sessions_once_a_period_of_ten_seconds_is_over() -> None:
    sessions = OpenSessions(AlignmentConfig(quotas=Quotas(source_sessions_max=2)))

    def is_over(session: str, at_us: int, source: str = "a") -> bool:
        return sessions.count(session, source, at_us) is not None

    last_us = 10 * SECOND - 1
    assert [is_over(session, last_us) for session in "stust"] == [False, False, True, False, False]
    assert not is_over("u", last_us, source="b")
    assert not is_over("u", last_us + 1)
    assert not is_over("v", 0), "append times went back"
    assert sessions.periods == 3


def test_settings_of_earlier_versions_have_neither_quotas_nor_a_limit_of_bytes() -> None:
    old = replace(CONFIG, quotas=None, window_bytes_max=None)
    assert "quotas" not in old.to_json()
    assert config_from_json(old.to_json()) == old
    log = Log(old)
    fates = [log.send(0, str(n), 1_000, 10**9) for n in range(200)]
    assert set(fates) == {"windowed"}
    assert not isinstance(fates[0], Rejected)


def test_sources_of_a_stream_are_remembered_up_to_a_limit_and_then_only_silence_ends_it() -> None:
    stream = Stream()
    for source in ("a", "b"):
        stream.add_source(source)
        stream.end_source(source)
    assert stream.all_ended
    for n in range(2 * SOURCES_MAX):
        stream.add_source(f"new {n}")
        stream.end_source(f"new {n}")
    assert (len(stream.sources), len(stream.ended)) == (SOURCES_MAX, SOURCES_MAX)
    assert not stream.all_ended
