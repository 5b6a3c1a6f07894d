"""A part of a recorded home stream as the services would have published it, written into a recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.aligner.__main__ import patience
from services.contract import event
from services.contract import window as late_record
from services.contract import window as window_record
from services.contract.control import Control
from services.contract.prediction import STATE_HEADER
from services.contract.record import KafkaRecord
from services.contract.topics import Topics
from services.fusion.__main__ import decision_of
from services.fusion.event_tracker import EventTracker
from services.fusion.inference import Inference
from services.offline.driver import OfflineLog, Out
from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.run_stream import ORIGIN_US, payloads, predict
from services.offline.recording.metadata import RecordingMetadata
from services.offline.recording.reader import RecordingFile
from services.offline.recording.writer import RecordingWriter
from services.offline.replay.compare import Comparison, compare_with_recording
from services.offline.replay.settings import with_overrides
from services.runtime.settings import ROOT, AlignmentSettings, LimitSettings, Settings, TopicSettings

SETTINGS = Settings.model_construct(
    alignment=AlignmentSettings.model_validate({"modalities": {"text": {"idle_timeout_ms": 6_500}}}),
    limits=LimitSettings(),
    topics=TopicSettings(partitions=1),
)
TOPICS = Topics()


def published(
    inference: Inference, stream: str = "S01", from_s: float = 34, to_s: float = 46, mute_s: float | None = None
) -> list[KafkaRecord]:
    """Every record that the topics would hold, topic by topic; mute_s: when somebody muted the sound."""
    semantics = SETTINGS.semantics()
    log = OfflineLog(semantics, patience(SETTINGS, semantics.modalities))
    sendings = list(
        read_stream(ROOT / "data", stream).records_between(stream, ORIGIN_US, round(from_s * 1e6), round(to_s * 1e6))
    )
    # Read back from their bytes, as the fusion worker gets them.
    played = log.play(stream, sendings, ORIGIN_US)
    outs = [Out(o.at_us, window_record.decode(window_record.encode(o.window))) for o in played]
    out = [r._replace(topic=TOPICS.media(m)) for m, records in log.records.items() for r in records]
    if mute_s is not None:
        at_us = ORIGIN_US + round(mute_s * 1e6)
        control = Control(stream).mute(["audio"], at_us)
        outs = [Out(o.at_us, control.over(o.window)) if o.at_us >= at_us else o for o in outs]
    key, chains = stream.encode(), EventTracker(decision_of(inference))
    said: dict[str, list[tuple[int, bytes, list[tuple[str, bytes]]]]] = {TOPICS.predictions: [], TOPICS.events: []}
    for o, predicted in zip(outs, predict(inference, outs, payloads(log)), strict=True):
        at_ms = o.at_us // 1000
        said[TOPICS.events] += [(at_ms, event.encode(e), []) for e in chains.update(predicted)]
        headers = [(STATE_HEADER, chains.states[stream].encode())] if o.window.final else []
        said[TOPICS.predictions].append((at_ms, predicted.record, headers))
    said[TOPICS.windows] = [(o.at_us // 1000, window_record.encode(o.window), []) for o in outs]
    said[TOPICS.late] = [(chunk.appended_us // 1000, late_record.encode_late(chunk, (), 0), []) for chunk in log.late]
    return out + [
        KafkaRecord(topic, 0, offset, at_ms, key, headers, value)
        for topic, records in said.items()
        for offset, (at_ms, value, headers) in enumerate(records)
    ]


def about(begins: dict[str, dict[int, int]] | None = None, *, whole: bool = True) -> RecordingMetadata:
    """What a recording of this installation says of itself."""
    sections = SETTINGS.model_dump(mode="json", include={"alignment", "limits", "topics"})
    return RecordingMetadata(SETTINGS.semantics(), sections, 1, begins or {}, whole)


def write(
    path: Path, records: Sequence[KafkaRecord], told: RecordingMetadata | None = None, until_s: float = 3_600
) -> Path:
    """Write records as a recording that ends a while after them."""
    with RecordingWriter(path, told or about(), TOPICS) as writer:
        for record in sorted(records, key=lambda r: r.timestamp):
            writer.add(record)
        writer.close(int(ORIGIN_US / 1000 + until_s * 1000))
    return path


def replayed(path: Path, inference: Inference, *changes: str) -> Comparison:
    """A recording through the same code again, under changed settings."""
    file = RecordingFile(path)
    return compare_with_recording(file, with_overrides(file.metadata, changes), inference)
