"""Finds a prediction and what it was made from in a recording."""

from __future__ import annotations

from collections.abc import Iterator

from services.contract.topics import Topics
from services.recordings.kept import Kept
from services.recordings.reader import RecordingFile
from services.why.evidence import At, Evidence, Wanted, evidence_in


def find(file: RecordingFile, topics: Topics, wanted: Wanted) -> Evidence | None:
    """The evidence, None where the recording has no such prediction. Raises NoRecording."""

    def media(places: set[At]) -> Iterator[Kept]:
        names, left = sorted({topic for topic, _, _ in places}), len(places)
        for kept in file.records(*names) if names else ():
            if (kept.topic, kept.partition, kept.offset) in places:
                yield kept
                left -= 1
                if not left:
                    return

    return evidence_in(file.records(topics.predictions), file.records(topics.windows), media, topics, wanted)
