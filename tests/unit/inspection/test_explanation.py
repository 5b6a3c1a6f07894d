"""Explanations of predictions, checked against the model and the recorded bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint import load
from services.contract import canonical
from services.contract.kafka_record import KafkaRecord
from services.fusion.inference import Inference
from services.inspection.explain.explanation import explain
from services.inspection.explain.reproduce import find_in_recording, recompute
from services.offline.recording.reader import RecordingFile
from services.runtime.settings import ROOT
from services.storage.evidence import (
    InvalidPredictionId,
    PredictionEvidence,
    PredictionKey,
)
from tests.unit.offline import sample_recording


@pytest.fixture(scope="module")
def inference() -> Inference:
    return Inference(load(ROOT / "models" / "home" / "1", "cpu"), 1 << 26)


@pytest.fixture(scope="module")
def published(inference: Inference) -> list[KafkaRecord]:
    return sample_recording.publish_stream(inference, "S05", 34, 54)


@pytest.fixture(scope="module")
def file(published: list[KafkaRecord], tmp_path_factory: pytest.TempPathFactory) -> RecordingFile:
    return RecordingFile(sample_recording.write_recording(tmp_path_factory.mktemp("why") / "S05.mcap", published))


def ids(published: list[KafkaRecord], *, final: bool = True) -> list[str]:
    records = [
        canonical.loads_object(k.value or b"") for k in published if k.topic == sample_recording.TOPICS.predictions
    ]
    return [r["id"] for r in records if r["final"] is final]


def find_evidence(file: RecordingFile, id: str) -> PredictionEvidence:
    evidence = find_in_recording(file, sample_recording.TOPICS, PredictionKey.parse(id))
    assert evidence is not None
    return evidence


def test_every_prediction_of_a_stream_is_reproduced_to_the_byte(
    file: RecordingFile, published: list[KafkaRecord], inference: Inference
) -> None:
    for id in ids(published)[::6] + ids(published, final=False)[::9]:
        evidence = find_evidence(file, id)
        again = recompute(evidence, inference)
        assert again is not None
        assert again.record == evidence.value


def test_counterfactuals_agree_with_contributions(
    file: RecordingFile, published: list[KafkaRecord], inference: Inference
) -> None:
    counted, baselines = 0, set()
    for id in ids(published):
        evidence = find_evidence(file, id)
        explanation = explain(evidence)
        present = [name for name, modality in explanation["modalities"].items() if modality["state"] == "present"]
        assert len(explanation["counterfactuals"]) == 2 ** len(present) - 1
        if len(present) == 1:
            # With one modality, its contribution is the whole difference from the baseline.
            alone = explanation["score"] - explanation["baseline"]
            assert explanation["modalities"][present[0]]["contribution"] == pytest.approx(alone, abs=2e-6)
            (without,) = explanation["counterfactuals"]
            assert without["without"] == present
            baselines.add((without["label"], without["confidence"]))
            counted += 1
    assert counted
    assert len(baselines) == 1, "without any modality the prediction is always the same"


def test_inputs_show_their_position_and_delay(
    file: RecordingFile, published: list[KafkaRecord], inference: Inference
) -> None:
    evidence = find_evidence(file, ids(published)[8])
    explanation = explain(evidence)
    records = {(k.topic, k.partition, k.offset): k for k in published}
    assert explanation["inputs"]
    for row in explanation["inputs"]:
        record = records[row["topic"], row["partition"], row["offset"]]
        assert dict(record.headers)["ce_time"].decode() == row["captured"]
        assert row["delay_ms"] is not None
    assert explanation["reproduce"] == f"braid why {explanation['id']} --reproduce"


def test_other_bytes_at_the_position_of_a_member_are_not_used(
    published: list[KafkaRecord], inference: Inference, tmp_path: Path
) -> None:
    media = set(sample_recording.TOPICS.media_all)
    forged = [k._replace(value=b"other") if k.topic in media and k.value and k.key else k for k in published]
    evidence = find_evidence(
        RecordingFile(sample_recording.write_recording(tmp_path / "x.mcap", forged)), ids(published)[8]
    )
    assert evidence.payloads == {}


@pytest.mark.parametrize("id", ["", "kitchen", "kitchen/5/1", "@", "kitchen/x/1@0", "/5/1@0"])
def test_an_invalid_id_is_rejected_with_an_example(id: str) -> None:
    with pytest.raises(InvalidPredictionId, match="look like"):
        PredictionKey.parse(id)


def test_a_session_with_slashes_and_signs_is_parsed_from_an_id() -> None:
    assert PredictionKey.parse("a/b@c/1700/1@d").session == "a/b@c"
    assert PredictionKey.parse("a/-5/0-0f0f0f@d").start_us == -5_000
