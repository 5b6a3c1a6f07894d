"""A recording in other tools: the channels, schemas and images that the MCAP library reads."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from mcap.reader import make_reader
from PIL import Image

from model.data.shards import find_file, list_files
from services.contract.alignment_config import AlignmentConfig
from services.contract.kafka_record import KafkaRecord
from services.contract.signature import Signer
from services.offline.recording.reader import RecordingFile
from services.offline.recording.writer import RecordingWriter
from services.runtime.settings import ROOT
from tests.unit.offline import sample_recording

JPEG = find_file(list_files(ROOT / "data" / "tridigit" / "hand")[0]).read_bytes()


def media(offset: int, at_ms: int, content_type: str, body: bytes, modality: str) -> KafkaRecord:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"/devices/d/x"),
        ("ce_type", f"braid.media.{modality}.v1".encode()),
        ("ce_time", b"2026-01-01T00:00:00.5Z"),
        ("content-type", content_type.encode()),
    ]
    return KafkaRecord(sample_recording.TOPICS.media(modality), 0, offset, at_ms, b"kitchen", headers, body)


RECORDS = [
    media(0, 1_000, "image/jpeg", JPEG, "video"),
    media(0, 900, "audio/pcm;rate=8000", bytes(1600), "audio"),
    media(0, 1_100, "text/plain", b"hello", "text"),
    media(1, 1_000, "image/jpeg", b"", "video"),
    KafkaRecord(sample_recording.TOPICS.windows, 0, 0, 1_200, b"kitchen", [], b'{"final":true}'),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return sample_recording.write_recording(tmp_path / "x.mcap", RECORDS)


def test_a_stock_reader_finds_channels_with_schemas_and_our_metadata(path: Path) -> None:
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None
        schema_by_topic = {c.topic: summary.schemas[c.schema_id].name for c in summary.channels.values()}
        metadata = {m.name: m.metadata for m in make_reader(file).iter_metadata()}
    assert schema_by_topic == {
        "braid.media.video.v1/image": "foxglove.CompressedImage",
        "braid.media.audio.v1/sound": "foxglove.RawAudio",
        "braid.media.text.v1": "braid.Record",
        "braid.media.video.v1": "braid.Record",
        "braid.windows.v1": "braid.Window",
    }
    assert {c.message_encoding for c in summary.channels.values()} == {"json"}
    assert {s.encoding for s in summary.schemas.values()} == {"jsonschema"}
    assert metadata["braid"]["config"] == AlignmentConfig().digest


def test_a_stock_reader_reads_a_valid_image(path: Path) -> None:
    with path.open("rb") as file:
        ((schema, _, message),) = make_reader(file).iter_messages("braid.media.video.v1/image")
    assert schema is not None
    fields = json.loads(message.data)
    assert set(json.loads(schema.data)["required"]) <= set(fields)
    assert Image.open(io.BytesIO(base64.b64decode(fields["data"]))).format == "JPEG"
    assert message.log_time == 1_000_000_000
    assert message.publish_time == 1_767_225_600_500_000_000


def test_records_come_in_the_order_of_their_append_times_and_of_one_topic_alone(path: Path) -> None:
    file = RecordingFile(path)
    assert list(file.records()) == sorted(RECORDS, key=lambda r: r.timestamp)
    assert list(file.records(sample_recording.TOPICS.media("video"))) == [RECORDS[0], RECORDS[3]]
    assert list(file.records("braid.other.v1")) == []


def test_a_clock_set_back_does_not_reorder_a_partition(tmp_path: Path) -> None:
    back = [media(n, 1_000 - n, "text/plain", b"%d" % n, "text") for n in range(3)]
    path = tmp_path / "x.mcap"
    with RecordingWriter(path, sample_recording.build_metadata(), sample_recording.TOPICS) as writer:
        for record in back:
            writer.add(record)
        writer.close(2_000)
    assert list(RecordingFile(path).records()) == back


def test_a_recording_is_never_overwritten(path: Path) -> None:
    with pytest.raises(FileExistsError):
        sample_recording.write_recording(path, RECORDS)


def test_a_recording_that_failed_can_be_read_up_to_the_failure(tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"

    def fail() -> None:
        with RecordingWriter(path, sample_recording.build_metadata(), sample_recording.TOPICS) as writer:
            writer.add(RECORDS[0])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    file = RecordingFile(path)
    assert list(file.records()) == [RECORDS[0]]
    assert file.until_us == RECORDS[0].timestamp * 1000


def test_only_the_owner_may_read_a_recording(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_records_that_no_service_signed_are_left_out_where_the_secret_of_the_recording_is_here(tmp_path: Path) -> None:
    signer, windows = Signer((b"0123456789abcdef",)), sample_recording.TOPICS.windows
    headers = signer.sign(windows, 0, b"s", b"{}", [])
    signed = KafkaRecord(windows, 0, 0, 1_000, b"s", headers, b"{}")
    forged = KafkaRecord(windows, 0, 1, 2_000, b"s", headers, b"[]")
    path = sample_recording.write_recording(tmp_path / "x.mcap", [signed, forged])
    verified, other = RecordingFile(path, signer), RecordingFile(path, Signer((b"another secret 16",)))
    assert list(verified.records()) == [signed]
    assert list(verified.records(windows, with_forged=True)) == [signed, forged]
    assert list(other.records()) == list(RecordingFile(path).records()) == [signed, forged]
    assert not other.signer.secrets, "a recording of elsewhere is read without verification"
