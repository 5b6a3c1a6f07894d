"""Read a recording; this file and writer.py are the only ones that use MCAP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import error as StructError
from zlib import error as ZlibError

from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from zstandard import ZstdError

from services.contract.kafka_record import KafkaRecord
from services.contract.signature import Signer, is_signed, is_signed_topic
from services.offline.recording import metadata as about_record
from services.offline.recording.message import NotKept, decode
from services.offline.recording.metadata import NAME, RECORDED, RecordingError, RecordingMetadata

RECORD_BYTES_MAX = 64 * 1024 * 1024
MESSAGES_MAX = 20_000_000
UNSIGNED = Signer()


class RecordingFile:
    """A recording on disk, which can be read again and again in the order of append times.

    Args:
        path: The file.
        signer: Verifies its records.
        session: Read only the records of this session, and those without a key.

    Attributes:
        path: The file.
        count: The number of its records.
        metadata: Its metadata.
        until_us: When the ends of the topics were looked up; of a recovered file the last append time.
        signer: Verifies its records; it has no secrets if those of the recording are not here.
    """

    def __init__(self, path: Path, signer: Signer = UNSIGNED, session: str | None = None) -> None:
        self.path, self._key = path, None if session is None else session.encode()
        with self._opened() as reader:
            by_name = {entry.name: entry.metadata for entry in reader.iter_metadata()}
            summary = reader.get_summary()
        if NAME not in by_name or summary is None or summary.statistics is None:
            raise RecordingError(f"{path} is no recording of Braid (`braid record` makes one)")
        self.count = summary.statistics.message_count
        if self.count > MESSAGES_MAX:
            raise RecordingError(f"{path} holds {self.count} records, at most {MESSAGES_MAX} are read: record a part")
        self.metadata: RecordingMetadata = about_record.decode_metadata(by_name[NAME])
        until = by_name.get(RECORDED, {}).get("until_ms", "")
        last_ms = summary.statistics.message_end_time // 1_000_000
        self.until_us = (int(until) if until.isascii() and until.isdigit() else last_ms) * 1000
        self._names = {
            channel.topic: channel.metadata.get("kafka_topic", channel.topic) for channel in summary.channels.values()
        }
        self.signer = signer if signer.secrets and self._is_signed_with(signer) else UNSIGNED

    def records(self, *topics: str, with_forged: bool = False) -> Iterator[KafkaRecord]:
        """Yield the records of these topics, of all topics if none is given.

        Records that no service signed are left out, except for idle records, which alignment judges.

        Args:
            topics: The names of the topics.
            with_forged: Leave out nothing.

        Raises:
            RecordingError: The file cannot be read.
        """
        for record in self._all_records(topics):
            if self._key is not None and record.key not in (self._key, None):
                continue
            if with_forged or not is_signed_topic(record.topic) or not self.signer.is_forged(record):
                yield record

    def _is_signed_with(self, signer: Signer) -> bool:
        """Return whether any record of a service has a signature with these secrets: they may be of other topics."""
        topics = [topic for topic in self._names.values() if is_signed_topic(topic)]
        records = self._all_records(topics) if topics else iter(())
        return any(is_signed(record.headers) and not signer.is_forged(record) for record in records)

    def _all_records(self, topics: Sequence[str]) -> Iterator[KafkaRecord]:
        names = [name for name, topic in self._names.items() if topic in topics] if topics else None
        if names == []:
            return
        with self._opened() as reader:
            for _, _, message in reader.iter_messages(names):
                try:
                    yield decode(message.data)
                except NotKept as error:
                    raise RecordingError(f"{self.path}: {error}") from None

    @contextmanager
    def _opened(self) -> Iterator[SeekingReader]:
        try:
            with self.path.open("rb") as file:
                yield SeekingReader(file, validate_crcs=True, record_size_limit=RECORD_BYTES_MAX)
        # CRCs and counts are ValueErrors of the library, cut-off records errors of struct.
        except (McapError, ValueError, StructError, ZlibError, ZstdError) as error:
            raise RecordingError(
                f"{self.path} cannot be read as MCAP ({error}). If it was cut off, `mcap recover` mends it"
            ) from error
        except OSError as error:
            raise RecordingError(f"{self.path} cannot be read: {error.strerror or error}") from error
