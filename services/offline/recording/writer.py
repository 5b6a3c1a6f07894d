"""Write a recording; this file and reader.py are the only ones that use MCAP."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

from mcap.writer import CompressionType, Writer

from services.contract.kafka_record import KafkaRecord
from services.contract.topics import Topics
from services.offline.recording.message import RECORD, encode
from services.offline.recording.metadata import NAME, RECORDED, RecordingMetadata
from services.offline.recording.schemas import SCHEMAS, schema_name

CHUNK_BYTES = 1024 * 1024


class RecordingWriter:
    """An MCAP file that is complete once it is closed; records of a partition are added in the order of their offsets.

    Each topic has a channel, and one more each for its images and its audio, because a channel has one schema.
    """

    def __init__(self, path: Path, metadata: RecordingMetadata, topics: Topics) -> None:
        self._topics = topics
        # Recordings are private, as they have what cameras and microphones recorded: mode 0600.
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile="", library="braid")
        self._writer.add_metadata(NAME, metadata.as_metadata())
        self._schemas: dict[str, int] = {}
        self._channels: dict[tuple[str, str], int] = {}
        self._latest_ns: dict[tuple[str, int], int] = {}
        self.counts: dict[str, int] = {}

    def add(self, record: KafkaRecord) -> None:
        """Add a record; its log time is the append time, but not before that of its predecessor in the partition."""
        message = encode(record)
        log = record.topic, record.partition
        at_ns = max(record.timestamp * 1_000_000, self._latest_ns.get(log, 0), 0)
        self._latest_ns[log] = at_ns
        captured_ns = at_ns if message.t_us is None or message.t_us < 0 else message.t_us * 1000
        self._writer.add_message(
            self._channel(record.topic, message.form),
            log_time=at_ns,
            publish_time=min(captured_ns, (1 << 64) - 1),
            sequence=record.offset & 0xFFFFFFFF,
            data=message.data,
        )
        self.counts[record.topic] = self.counts.get(record.topic, 0) + 1

    def close(self, until_ms: int) -> None:
        """Complete the file; until_ms: the wall clock when the ends of the topics were looked up."""
        self._writer.add_metadata(RECORDED, {"until_ms": str(until_ms)})
        self._finish()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete the file after a failure too, so that what was recorded can be read."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                self._finish()
            self._file.close()

    def _finish(self) -> None:
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.close()

    def _channel(self, topic: str, form: str) -> int:
        channel = self._channels.get((topic, form))
        if channel is not None:
            return channel
        schema = schema_name(topic, form, self._topics)
        if schema not in self._schemas:
            self._schemas[schema] = self._writer.register_schema(schema, "jsonschema", SCHEMAS[schema])
        name = topic if form == RECORD else f"{topic}/{form}"
        channel = self._writer.register_channel(name, "json", self._schemas[schema], {"kafka_topic": topic})
        self._channels[topic, form] = channel
        return channel
