"""Replay of a recorded home stream: the same bytes with the same settings, and an explained diff with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.checkpoint import load, save
from model.streams.network import StreamsNetwork
from services.contract import canonical, cloudevents, tick
from services.contract.kafka_record import KafkaRecord, MemberPosition
from services.contract.prediction import muted_modalities
from services.fusion.inference import Inference
from services.offline.recording.reader import RecordingFile
from services.offline.replay import case
from services.offline.replay.baseline import ReplayOutcome
from services.offline.replay.checkpoints import find_checkpoint
from services.offline.replay.compare import compare_with_recording, recorded_model_digest
from services.offline.replay.diff import UNEXPLAINED, window_points
from services.offline.replay.settings import with_overrides
from services.runtime.settings import ROOT, SettingsError
from tests.unit.offline import sample_recording

WINDOWS, PREDICTIONS, EVENTS = (
    sample_recording.TOPICS.windows,
    sample_recording.TOPICS.predictions,
    sample_recording.TOPICS.events,
)


def test_a_replay_gives_the_same_bytes(recording: Path, inference: Inference) -> None:
    comparison = sample_recording.replay(recording, inference)
    assert comparison.diff.same_bytes
    assert comparison.ok
    assert comparison.diff.identical["window"] == comparison.diff.identical["prediction"] == 25
    assert comparison.diff.identical["event"] > 0
    assert comparison.early > 10
    assert not any(comparison.diff.uncompared.values())


def test_a_replay_by_a_cold_model_in_a_process_of_its_own_gives_the_same_bytes(recording: Path) -> None:
    cold = Inference(load(ROOT / "models" / "home" / "1", "cpu"), 1)
    assert sample_recording.replay(recording, cold).diff.same_bytes


@pytest.mark.parametrize("stream", [f"S{n:02d}" for n in range(1, 9)])
def test_every_home_stream_is_replayed_to_the_same_bytes(stream: str, inference: Inference, tmp_path: Path) -> None:
    comparison = sample_recording.replay(
        sample_recording.write_recording(
            tmp_path / "x.mcap", sample_recording.publish_stream(inference, stream, 50, 66)
        ),
        inference,
    )
    assert comparison.diff.same_bytes
    assert comparison.diff.identical["window"] > 20


def test_a_recording_with_a_mute_in_it_gives_the_same_bytes(inference: Inference, tmp_path: Path) -> None:
    records = sample_recording.publish_stream(inference, mute_s=42)
    predictions = [canonical.loads_object(r.value or b"") for r in records if r.topic == PREDICTIONS]
    muted = {"audio" in muted_modalities(p) for p in predictions if p["final"]}
    assert muted == {True, False}, "some windows were predicted before the mute, some after"
    comparison = sample_recording.replay(sample_recording.write_recording(tmp_path / "x.mcap", records), inference)
    assert comparison.diff.same_bytes
    assert comparison.diff.identical["prediction"] == comparison.diff.identical["window"] == 25


def test_the_order_of_topics_in_the_file_does_not_matter(
    published: list[KafkaRecord], inference: Inference, tmp_path: Path
) -> None:
    shuffled = sorted(published, key=lambda r: (r.topic, r.offset), reverse=False)
    path = sample_recording.write_recording(tmp_path / "x.mcap", shuffled)
    assert sample_recording.replay(path, inference).diff.same_bytes


def test_a_longer_hop_makes_every_other_window_vanish_and_says_why(recording: Path, inference: Inference) -> None:
    comparison = sample_recording.replay(recording, inference, "alignment.hop_ms=1000")
    vanished = [d for d in comparison.diff.of("window") if d.how == "vanishes"]
    assert len(vanished) == 12
    assert {d.why for d in vanished} == {("alignment.hop_ms 500 -> 1000",)}
    assert comparison.ok, "a requested change is no failure"
    assert not comparison.diff.same_bytes
    predictions = [d for d in comparison.diff.of("prediction") if d.how == "vanishes"]
    assert {d.why[0] for d in predictions} == {"its window vanishes"}


def test_a_shorter_idle_timeout_makes_streams_unknown_and_writes_its_own_idle_records(
    recording: Path, inference: Inference
) -> None:
    comparison = sample_recording.replay(recording, inference, "alignment.modalities.text.idle_timeout_ms=1500")
    points = [point for d in comparison.diff.of("window") for point in d.what]
    assert "text absent -> unknown" in points
    assert any(point.startswith("closes 5000 ms earlier") for point in points)


def test_a_longer_idle_timeout_loses_only_windows_that_are_still_open(recording: Path, inference: Inference) -> None:
    comparison = sample_recording.replay(recording, inference, "alignment.modalities.text.idle_timeout_ms=8000")
    assert not [d for d in comparison.diff.of("window") if d.how != "changes"]


def test_a_shorter_idle_timeout_names_the_chunk_that_left_a_window(inference: Inference, tmp_path: Path) -> None:
    path = sample_recording.write_recording(
        tmp_path / "S05.mcap", sample_recording.publish_stream(inference, "S05", 34, 54)
    )
    comparison = sample_recording.replay(path, inference, "alignment.modalities.text.idle_timeout_ms=1000")
    points = [point for d in comparison.diff.of("window") for point in d.what]
    assert [point for point in points if point.startswith("-text /devices/S05/text#")]


def test_a_member_that_is_rejected_in_the_other_outcome_shows_its_fate() -> None:
    member = {"source": "/d", "id": "7", "at": [0, 3]}
    text = {"state": "present", "evidence": "data", "bound_us": 1, "members": [member]}
    times = {"end_us": 1, "previous_us": None, "opened_us": 1, "closed_us": 1}
    empty = {**times, "modalities": {"text": {**text, "members": []}}}
    full = {**times, "modalities": {"text": text}}
    late = ReplayOutcome(fates={MemberPosition("text", 0, 3): "late"})
    assert list(window_points(full, empty, ReplayOutcome(), late)) == ["-text /d#7 (late now)"]
    assert list(window_points(empty, full, late, ReplayOutcome())) == ["+text /d#7 (late before)"]


def test_a_changed_limit_uses_the_recorded_idle_records(recording: Path, inference: Inference) -> None:
    file = RecordingFile(recording)
    rules = with_overrides(file.metadata, ["alignment.members_max=3"])
    assert not rules.writes_idle_records
    comparison = compare_with_recording(file, rules, inference)
    points = [point for d in comparison.diff.of("window") for point in d.what]
    assert any(point.startswith("-audio /devices/S01/mic#") for point in points)


def test_own_idle_records_with_the_same_settings_equal_the_recorded_ones(
    published: list[KafkaRecord], inference: Inference, tmp_path: Path
) -> None:
    """Without the recorded ticks no window closes; a change without effect makes the replay write the same ticks."""
    without_ticks = [r for r in published if cloudevents.raw_type(r.headers) != tick.TICK_TYPE.encode()]
    path = sample_recording.write_recording(tmp_path / "x.mcap", without_ticks)
    vanished = [d for d in sample_recording.replay(path, inference).diff.of("window") if d.how == "vanishes"]
    assert vanished
    assert {d.what for d in vanished} == {("still open at the recording's end",)}
    assert {d.why for d in vanished} == {(UNEXPLAINED,)}
    comparison = sample_recording.replay(path, inference, "alignment.session_idle_ms=3001")
    assert not [d for d in comparison.diff.of("window") if d.how == "vanishes"]


def test_another_model_changes_predictions_and_no_window(recording: Path, tmp_path: Path) -> None:
    shipped = ROOT / "models" / "home" / "1"
    config = json.loads((shipped / "config.json").read_text())
    network = StreamsNetwork(len(config["labels"]), len(config["words"]), config["vector_size"])
    save(tmp_path / "model", network, {**config, "version": "other"}, "a test")
    other = Inference(load(tmp_path / "model", "cpu"), 1 << 20)
    comparison = sample_recording.replay(recording, other)
    assert comparison.diff.identical["window"] == 25
    assert not comparison.diff.of("window")
    changed = comparison.diff.of("prediction")
    assert len(changed) == 25
    assert all("home other" in d.why[0] for d in changed)
    assert not comparison.ok, "this model was not requested"


def test_a_changed_byte_in_a_recorded_window_is_noticed(
    published: list[KafkaRecord], inference: Inference, tmp_path: Path
) -> None:
    at = next(n for n, r in enumerate(published) if r.topic == WINDOWS and b'"final":true' in (r.value or b""))
    window = canonical.loads_object(published[at].value or b"")
    window["modalities"]["text"]["state"] = "present"
    forged = [*published[:at], published[at]._replace(value=canonical.dumps(window)), *published[at + 1 :]]
    comparison = sample_recording.replay(sample_recording.write_recording(tmp_path / "x.mcap", forged), inference)
    assert not comparison.ok
    (difference,) = comparison.diff.of("window")
    assert difference.id == window["id"]
    assert difference.why == (UNEXPLAINED,)


def test_a_case_is_stored_and_fails_if_something_differs(recording: Path, inference: Inference, tmp_path: Path) -> None:
    changes = ["alignment.members_max=3"]
    comparison = sample_recording.replay(recording, inference, *changes)
    case.store_case(tmp_path / "cases" / "few", recording, changes, comparison, inference.model.digest)
    (folder,) = case.find_cases(tmp_path / "cases")
    assert case.check_case(case.read_case(folder), inference).diff.same_bytes
    expected = folder / case.EXPECTED
    expected.write_bytes(expected.read_bytes().replace(b'"label":"helicopter"', b'"label":"rain"', 1))
    again = case.check_case(case.read_case(folder), inference)
    assert not again.diff.same_bytes
    assert not again.ok


@pytest.mark.parametrize(
    "change", ["alignment.hop=3", "alignment.hop_ms=many", "topics.prefix=x", "alignment.hop_ms", "alignment=3", "x"]
)
def test_a_setting_that_cannot_be_changed_is_rejected(recording: Path, change: str) -> None:
    with pytest.raises(SettingsError, match=change.split("=")[0].split(".")[-1]):
        with_overrides(RecordingFile(recording).metadata, [change])


def test_the_recorded_model_is_found_by_its_digest(recording: Path) -> None:
    digest = recorded_model_digest(RecordingFile(recording), sample_recording.TOPICS)
    assert find_checkpoint(ROOT / "models" / "home", digest) == ROOT / "models" / "home" / "1"
    assert find_checkpoint(ROOT / "models" / "home", "no such digest") == ROOT / "models" / "home" / "1"
