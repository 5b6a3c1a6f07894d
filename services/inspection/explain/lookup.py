"""Find a prediction and what it was made from in a recording."""

from __future__ import annotations

from collections.abc import Iterator

from services.contract.record import KafkaRecord, RecordPosition
from services.contract.topics import Topics
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
