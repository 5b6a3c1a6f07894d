"""Recorded streams: rendered as their README says, stamped once, and played without reading the true events."""

from __future__ import annotations

import ast
import hashlib
import shutil
from collections import defaultdict
from pathlib import Path

from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.kafka_player import PlaybackSchedule
from services.runtime.settings import ROOT

DATA = ROOT / "data"
ORIGIN_US = 1_700_000_000_000_000


def test_the_player_never_opens_a_truth_file(tmp_path: Path) -> None:
    shutil.copytree(DATA / "homestream", tmp_path / "homestream", ignore=shutil.ignore_patterns("*.truth.json"))
    for name in ("tridigit", "homesound10"):
        (tmp_path / name).symlink_to(DATA / name)
    recording = read_stream(tmp_path, "S01")
    assert len(list(recording.records_between("s", ORIGIN_US, 0, 120_000_000))) > 250


def test_no_file_of_the_player_mentions_truth_files() -> None:
    files = [*(ROOT / "services" / "player").glob("*.py"), ROOT / "model" / "data" / "homestream.py"]
    for file in files:
        words = {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant) and n.value}
        assert not [w for w in words if isinstance(w, str) and "truth.json" in w], file


def test_only_the_scorer_and_training_read_truth_files() -> None:
    readers = {
        str(file.relative_to(ROOT))
        for folder in ("services", "model")
        for file in (ROOT / folder).rglob("*.py")
        if ".truth.json" in file.read_text()
    }
    assert readers == {
        "services/offline/evaluation/event_scoring.py",
        "services/local/demo/report.py",
        "services/offline/evaluation/tune_events.py",
    }


def test_the_microphone_is_rendered_as_the_data_set_describes() -> None:
    audio = read_stream(DATA, "S01").audio
    assert audio.shape == (960_000,)
    assert hashlib.sha256(audio.astype("<i2").tobytes()).hexdigest() == (
        "c98295cba7f4377c588d5d1c9eb9c007693e8a30b4e0cc32299411d16be70b22"
    )


def test_a_copy_repeats_id_time_and_bytes_of_the_first() -> None:
    recording = read_stream(DATA, "S01")
    by_id: dict[tuple[str, bytes], set[object]] = defaultdict(set)
    count: dict[tuple[str, bytes], int] = defaultdict(int)
    for sending in recording.records_between("s", ORIGIN_US, 0, 120_000_000):
        key = sending.modality, dict(sending.headers)["ce_id"]
        by_id[key].add((tuple(sending.headers), sending.value))
        count[key] += 1
    assert max(count.values()) > 1, "this recording has copies"
    assert all(len(versions) == 1 for versions in by_id.values())


def test_records_captured_before_the_played_part_are_left_out() -> None:
    messages = read_stream(DATA, "S02").messages
    expected = sum(m.t_us >= 30_000_000 and m.arrived_us < 70_000_000 for m in messages)
    sendings = list(read_stream(DATA, "S02").records_between("s", ORIGIN_US, 30_000_000, 70_000_000))
    assert len(sendings) == expected + 3


def test_at_speed_one_event_time_is_now_and_lies_on_whole_seconds() -> None:
    schedule = PlaybackSchedule(1_800_000_000_000_000, 30_000_000, 70_000_000, 1)
    assert schedule.origin_us % 1_000_000 == 0
    assert schedule.wall_us(30_000_000) == 1_800_000_000_000_000


def test_at_other_speeds_no_event_time_is_in_the_future() -> None:
    schedule = PlaybackSchedule(1_800_000_000_000_000, 30_000_000, 70_000_000, 4)
    for stream_us in range(30_000_000, 70_000_001, 500_000):
        assert schedule.origin_us + stream_us <= schedule.wall_us(stream_us)
