"""One recording of a home stream, and the model of its predictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint import load
from model.checkpoint_files import resolve_checkpoint
from services.contract.kafka_record import KafkaRecord
from services.fusion.inference import Inference
from services.runtime.settings import ROOT
from tests.unit.offline import sample_recording


@pytest.fixture(scope="session")
def inference() -> Inference:
    return Inference(load(resolve_checkpoint(ROOT / "models" / "home"), "cpu"), 64 * 1024 * 1024)


@pytest.fixture(scope="session")
def published(inference: Inference) -> list[KafkaRecord]:
    return sample_recording.publish_stream(inference)


@pytest.fixture(scope="session")
def recording(published: list[KafkaRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_recording.write_recording(tmp_path_factory.mktemp("recording") / "S01.mcap", published)
