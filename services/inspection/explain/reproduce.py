"""Find a prediction in a recording, and compute a prediction again.

Apart from explanation.py, so that the gateway explains without loading the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from services.contract.kafka_record import KafkaRecord, RecordPosition
from services.contract.prediction import muted_modalities
from services.contract.topics import Topics
from services.fusion.inference import Inference
from services.fusion.stage_values import WindowPrediction
from services.offline.recording.reader import RecordingFile
from services.storage.evidence import PredictionEvidence, PredictionKey, find_in_records


def find_in_recording(file: RecordingFile, topics: Topics, key: PredictionKey) -> PredictionEvidence | None:
    """Find a prediction in a recording; None if the recording does not have it.

    Raises:
        RecordingError: The recording cannot be read.
    """

    def media(positions: set[RecordPosition]) -> Iterator[KafkaRecord]:
        names, missing = sorted({position.topic for position in positions}), len(positions)
        for record in file.records(*names) if names else ():
            if record.position in positions:
                yield record
                missing -= 1
                if not missing:
                    return

    return find_in_records(file.records(topics.predictions), file.records(topics.windows), media, topics, key)


def recompute(evidence: PredictionEvidence, inference: Inference) -> WindowPrediction | None:
    """Predict the window of a prediction again; None if the window is gone or this is not the model that predicted it."""
    if evidence.window is None or evidence.record["model"]["digest"] != inference.model.digest:
        return None
    window = replace(evidence.window, muted=muted_modalities(evidence.record))
    return inference.predict([window], evidence.payloads, evidence.record["level"])[0]
