"""The archive of events: complete after a restart, within its limits, erased on request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.checkpoint import load
from services.contract import canonical
from services.contract.kafka_record import KafkaRecord, RecordPosition
from services.fusion.inference import Inference
from services.inspection.explain.reproduce import find_in_recording, recompute
from services.offline.recording.reader import RecordingFile
from services.runtime.settings import ROOT
from services.storage.archive import DAY_US, EventArchive
from services.storage.archive_collector import build_entry
from services.storage.archive_entry import ArchiveEntry, InvalidEntry, decode, encode
from services.storage.evidence import PredictionKey, find_in_archive
from tests.unit.offline import sample_recording

NOW_US = 1_700_000_000_000_000
MB = 1_000_000


def entry(n: int, session: str = "kitchen", body: bytes | None = None, at_us: int = NOW_US) -> ArchiveEntry:
    """Return an event of one window with one image; `body` is an image that several events share."""
    value = f"picture {n}".encode() * 100 if body is None else body
    media = [KafkaRecord("braid.media.video.v1", 0, n, 5, session.encode(), [("ce_id", b"\xff"), ("x", b"")], value)]
    media.append(KafkaRecord("braid.media.video.v1", 0, n + 1000, 5, session.encode(), [], b""))
    record = KafkaRecord("braid.events.v1", 0, n, 5, session.encode(), [], b'{"id":1}')
    return ArchiveEntry(f"{session}/{n}", session, at_us, [record], [record], [record], media)


def open_archive(folder: Path, days: int = 7, bytes_max: int = MB) -> EventArchive:
    """Return an archive that has loaded its folder, unlocked so that the test may open it again."""
    archive = EventArchive(folder, days, bytes_max)
    archive.open(NOW_US)
    archive.close()
    return archive


def files(folder: Path) -> int:
    return sum(path.is_file() and path.name != "lock" for path in folder.rglob("*"))


def test_an_entry_is_unchanged_after_a_restart(tmp_path: Path) -> None:
    assert open_archive(tmp_path).save(entry(1))
    assert open_archive(tmp_path).entry_of("kitchen", "kitchen/1") == entry(1)
    assert open_archive(tmp_path).entry_of("kitchen", "kitchen/2") is None


def test_a_shared_value_is_stored_once_and_stays_while_an_event_needs_it(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    for n, session in ((1, "a"), (2, "a"), (3, "b")):
        assert archive.save(entry(n, session, b"the same picture"))
    assert files(tmp_path) == 3 + 1
    assert archive.forget("a") == 2
    assert archive.entry_of("b", "b/3") == entry(3, "b", b"the same picture")
    assert archive.forget("b") == 1
    assert files(tmp_path) == 0
    assert archive.bytes == 0


def test_saving_an_event_again_replaces_its_entry(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.save(entry(1, body=b"first"))
    archive.save(entry(1, body=b"then"))
    assert archive.entry_of("kitchen", "kitchen/1") == entry(1, body=b"then")
    assert files(tmp_path) == 2
    assert archive.bytes == open_archive(tmp_path).bytes


def test_saving_an_unchanged_event_again_keeps_its_values_until_it_is_forgotten(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    for _ in range(3):
        assert archive.save(entry(1))
    assert archive.entry_of("kitchen", "kitchen/1") == entry(1)
    assert archive.bytes == open_archive(tmp_path).bytes
    assert archive.forget("kitchen") == 1
    assert (files(tmp_path), archive.bytes) == (0, 0)


def test_values_of_earlier_processes_are_known_as_shared(tmp_path: Path) -> None:
    for n in range(3):
        assert open_archive(tmp_path).save(entry(n, f"room {n}", b"the same picture"))
    archive = open_archive(tmp_path)
    for n in range(2):
        assert archive.forget(f"room {n}") == 1
    assert archive.entry_of("room 2", "room 2/2") == entry(2, "room 2", b"the same picture")
    assert archive.forget("room 2") == 1
    assert (files(tmp_path), archive.bytes) == (0, 0)


def test_a_changed_manifest_can_be_forgotten_and_its_values_go_with_the_next_start(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.save(entry(1))
    (manifest,) = tmp_path.glob("events/*/*.json")
    manifest.write_bytes(b"{}")
    assert archive.forget("kitchen") == 1
    assert files(tmp_path) == 1
    assert open_archive(tmp_path).bytes == files(tmp_path) == 0


def test_the_oldest_entries_are_deleted_beyond_the_limit_of_bytes(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, bytes_max=20_000)
    for n in range(30):
        archive.save(entry(n, at_us=NOW_US + n))
        assert archive.bytes <= 20_000
    assert archive.entry_of("kitchen", "kitchen/0") is None
    assert archive.entry_of("kitchen", "kitchen/29") == entry(29, at_us=NOW_US + 29)
    there = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert there == archive.bytes


def test_expired_entries_are_deleted(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, days=2)
    archive.save(entry(1, at_us=NOW_US - 3 * DAY_US // 2))
    archive.save(entry(2, at_us=NOW_US + DAY_US))
    assert archive.entry_of("kitchen", "kitchen/1") is None
    assert archive.entry_of("kitchen", "kitchen/2") is not None


def test_zero_days_or_bytes_archive_nothing_and_create_no_folder(tmp_path: Path) -> None:
    for archive in (open_archive(tmp_path / "x", days=0), open_archive(tmp_path / "x", bytes_max=0)):
        assert not archive.save(entry(1))
    assert not (tmp_path / "x").exists()


def test_files_of_a_crash_before_the_manifest_are_deleted_at_the_next_start(tmp_path: Path) -> None:
    archive = open_archive(tmp_path)
    archive.save(entry(1))
    (next(tmp_path.glob("values/*")) / ("0" * 64)).write_bytes(b"not in a manifest")
    (next(tmp_path.glob("events/*")) / ".half").write_bytes(b"half a manifest")
    open_archive(tmp_path)
    assert files(tmp_path) == 2


def test_a_changed_value_is_missing_and_a_changed_manifest_is_counted(tmp_path: Path) -> None:
    open_archive(tmp_path).save(entry(1))
    next(tmp_path.glob("values/*/*")).write_bytes(b"forged")
    archived = open_archive(tmp_path).entry_of("kitchen", "kitchen/1")
    assert archived is not None
    assert [record.value for record in archived.media] == [None, b""]
    next(tmp_path.glob("events/*/*.json")).write_bytes(b"{}")
    archive = open_archive(tmp_path)
    assert archive.damaged == 1
    assert archive.entry_of("kitchen", "kitchen/1") is None


def test_one_process_writes_and_any_may_read_and_forget(tmp_path: Path) -> None:
    one, other, reader = (EventArchive(tmp_path, 7, MB) for _ in range(3))
    one.open(NOW_US)
    with pytest.raises(BlockingIOError):
        other.open(NOW_US)
    one.save(entry(1))
    reader.load()
    assert reader.has("kitchen", "kitchen/1")
    assert [
        record.value for record in reader.media_records("kitchen", RecordPosition("braid.media.video.v1", 0, 1))
    ] == [b"picture 1" * 100]
    assert reader.forget("kitchen") == 1
    assert one.entry_of("kitchen", "kitchen/1") is None
    assert files(tmp_path) == 0


def test_names_in_entries_cannot_choose_a_path(tmp_path: Path) -> None:
    evil = entry(1, session="../../../tmp/x")
    archive = open_archive(tmp_path / "store")
    assert archive.save(evil)
    assert archive.entry_of(evil.session, evil.event_id) == evil
    fields = json.loads(encode(evil))
    fields["media"][0]["sha256"] = "../../x"
    with pytest.raises(InvalidEntry):
        decode(canonical.dumps(fields))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_prediction_is_reproduced_from_the_archive_alone(tmp_path: Path) -> None:
    inference = Inference(load(ROOT / "models" / "home" / "1", "cpu"), 1 << 26)
    published = sample_recording.publish_stream(inference)
    file = RecordingFile(sample_recording.write_recording(tmp_path / "S01.mcap", published))
    event = next(
        record
        for record in published
        if record.topic == sample_recording.TOPICS.events and b'"final":true' in (record.value or b"")
    )
    event_fields = canonical.loads_object(event.value or b"")
    evidence = find_in_recording(file, sample_recording.TOPICS, PredictionKey.parse(event_fields["prediction"]))
    assert evidence is not None
    archive = open_archive(tmp_path / "store", bytes_max=10 * MB)
    assert archive.save(build_entry([evidence], [event], event_fields["id"], event_fields["session"], NOW_US))
    archived = find_in_archive(archive, sample_recording.TOPICS, PredictionKey.parse(event_fields["prediction"]))
    assert archived is not None
    again = recompute(archived, inference)
    assert again is not None
    assert again.record == evidence.value
    assert find_in_archive(archive, sample_recording.TOPICS, PredictionKey.parse("S01/5/1@000000000000")) is None
