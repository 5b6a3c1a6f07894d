"""A part of a recorded home stream as the services would have published it, written into a recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.aligner.config import idle_timeouts
from services.contract import event
from services.contract import window as late_record
from services.contract import window as window_record
from services.contract.kafka_record import KafkaRecord
from services.contract.mute_and_forget import Control
from services.contract.prediction import STATE_HEADER
from services.contract.session_reset import GenerationStart
from services.contract.topics import Topics
from services.fusion.event_detector import EventDetector
from services.fusion.event_tracker import EventTracker
from services.fusion.inference import Inference
from services.offline.driver import StreamDriver
from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.run_stream import ORIGIN_US
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


def publish_stream(
    inference: Inference,
    stream: str = "S01",
    from_s: float = 34,
    to_s: float = 46,
    mute_s: float | None = None,
    generation: int = 0,
) -> list[KafkaRecord]:
    """Return every record that the topics would hold, topic by topic.

    Audio is muted from `mute_s` on. The session was reset before, if `generation` is not 0.
    """
    semantics = SETTINGS.alignment_config()
    driver = StreamDriver(semantics, idle_timeouts(SETTINGS, semantics.modalities))
    if generation:
        driver.generations = {0: [GenerationStart(stream, generation, m, -1, 0) for m in semantics.modalities]}
    sent = read_stream(ROOT / "data", stream).records_between(stream, ORIGIN_US, round(from_s * 1e6), round(to_s * 1e6))
    # Decoded from their records, as the fusion worker reads them.
    timed = [
        (t.at_us, window_record.decode(window_record.encode(t.window))) for t in driver.play(stream, sent, ORIGIN_US)
    ]
    if mute_s is not None:
        muted_us = ORIGIN_US + round(mute_s * 1e6)
        control = Control(stream).mute(["audio"], muted_us)
        timed = [(at_us, control.with_mutes(window) if at_us >= muted_us else window) for at_us, window in timed]
    key, tracker = stream.encode(), EventTracker(EventDetector.of_model(inference.model))
    records: dict[str, list[tuple[int, bytes, list[tuple[str, bytes]]]]] = {TOPICS.predictions: [], TOPICS.events: []}
    predictions = inference.predict([window for _, window in timed], driver.payloads)
    for (at_us, window), predicted in zip(timed, predictions, strict=True):
        at_ms = at_us // 1000
        records[TOPICS.events] += [(at_ms, event.encode(e), []) for e in tracker.update(predicted)]
        headers = [(STATE_HEADER, tracker.states[window.generation_id].encode())] if window.final else []
        records[TOPICS.predictions].append((at_ms, predicted.record, headers))
    records[TOPICS.windows] = [(at_us // 1000, window_record.encode(window), []) for at_us, window in timed]
    records[TOPICS.late] = [(c.appended_us // 1000, late_record.encode_late(c, (), 0), []) for c in driver.late]
    return [record for log in driver.records.values() for record in log] + [
        KafkaRecord(topic, 0, offset, at_ms, key, headers, value)
        for topic, several in records.items()
        for offset, (at_ms, value, headers) in enumerate(several)
    ]


def build_metadata(begins: dict[str, dict[int, int]] | None = None, *, whole: bool = True) -> RecordingMetadata:
    """Return the metadata of a recording of this installation."""
    sections = SETTINGS.model_dump(mode="json", include={"alignment", "limits", "quotas", "topics"})
    return RecordingMetadata(SETTINGS.alignment_config(), sections, 1, begins or {}, whole)


def write_recording(
    path: Path, records: Sequence[KafkaRecord], metadata: RecordingMetadata | None = None, until_s: float = 3_600
) -> Path:
    """Write records as a recording that ends a while after them."""
    with RecordingWriter(path, metadata or build_metadata(), TOPICS) as writer:
        for record in sorted(records, key=lambda r: r.timestamp):
            writer.add(record)
        writer.close(int(ORIGIN_US / 1000 + until_s * 1000))
    return path


def replay(path: Path, inference: Inference, *changes: str) -> Comparison:
    """Replay a recording with changed settings and compare the results."""
    file = RecordingFile(path)
    return compare_with_recording(file, with_overrides(file.metadata, changes), inference)
