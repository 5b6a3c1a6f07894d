"""Finds a prediction and what it was made from in a recording."""

from __future__ import annotations

from services.contract import window as window_record
from services.contract.topics import Topics
from services.recordings.reader import RecordingFile
from services.why.evidence import Evidence, Wanted, inputs, is_it


def find(file: RecordingFile, topics: Topics, wanted: Wanted) -> Evidence | None:
    """The evidence, None where the recording has no such prediction. Raises NoRecording."""
    found = next((k for k in file.records(topics.predictions) if is_it(k, wanted.id)), None)
    if found is None or found.value is None:
        return None
    out = Evidence(found.value, found.headers)
    raw = next((k.value for k in file.records(topics.windows) if is_it(k, wanted.window_id)), None)
    out.window = window_record.read(raw)
    if out.window is not None:
        media = {modality: topics.media(modality) for modality in topics.modalities}
        places = {
            (media[m], x.partition, x.offset)
            for m, lane in out.window.modalities.items()
            if m in media
            for x in lane.members
        }
        names = sorted({topic for topic, _, _ in places})
        records = {}
        for kept in file.records(*names) if names else ():
            place = kept.topic, kept.partition, kept.offset
            if place in places:
                records[place] = kept
                if len(records) == len(places):
                    break
        out.inputs = inputs(out.window, media, records)
    return out
