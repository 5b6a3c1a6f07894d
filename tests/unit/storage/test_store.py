"""Evidence kept: found again byte for byte, within its bounds, erased when asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.checkpoint import load
from services.contract import canonical
from services.contract.record import KafkaRecord, RecordPosition
from services.fusion.inference import Inference
from services.inspection.explain.reproduce import find_in_recording, recompute
from services.offline.recording.reader import RecordingFile
from services.runtime.settings import ROOT
from services.storage.archive import DAY_US, EventArchive
from services.storage.archive_collector import build_entry
from services.storage.archive_entry import ArchiveEntry, InvalidEntry, decode, encode
from services.storage.evidence import PredictionKey, find_in_archive
from tests.unit.offline import made

NOW_US = 1_700_000_000_000_000
MB = 1_000_000


def entry(n: int, session: str = "kitchen", body: bytes | None = None, at_us: int = NOW_US) -> ArchiveEntry:
    """An event of one window with one picture; body: the same picture in several events."""
    value = f"picture {n}".encode() * 100 if body is None else body
    media = [KafkaRecord("braid.media.video.v1", 0, n, 5, session.encode(), [("ce_id", b"\xff"), ("x", b"")], value)]
    media.append(KafkaRecord("braid.media.video.v1", 0, n + 1000, 5, session.encode(), [], b""))
    record = KafkaRecord("braid.events.v1", 0, n, 5, session.encode(), [], b'{"id":1}')
    return ArchiveEntry(f"{session}/{n}", session, at_us, [record], [record], [record], media)


def opened(folder: Path, days: int = 7, bytes_max: int = MB) -> EventArchive:
    """A store that read what is there; closed, so that the test may open it again."""
    store = EventArchive(folder, days, bytes_max)
    store.open(NOW_US)
    store.close()
    return store


def files(folder: Path) -> int:
    return sum(path.is_file() and path.name != "lock" for path in folder.rglob("*"))


def test_what_was_kept_comes_back_after_a_restart_as_it_was(tmp_path: Path) -> None:
    assert opened(tmp_path).save(entry(1))
    assert opened(tmp_path).entry_of("kitchen", "kitchen/1") == entry(1)
    assert opened(tmp_path).entry_of("kitchen", "kitchen/2") is None


def test_a_value_of_several_events_lies_there_once_and_stays_while_one_needs_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for n, session in ((1, "a"), (2, "a"), (3, "b")):
        assert store.save(entry(n, session, b"the same picture"))
    assert files(tmp_path) == 3 + 1
    assert store.forget("a") == 2
    assert store.entry_of("b", "b/3") == entry(3, "b", b"the same picture")
    assert store.forget("b") == 1
    assert files(tmp_path) == 0
    assert store.bytes == 0


def test_an_event_kept_again_takes_the_place_of_what_was_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.save(entry(1, body=b"first"))
    store.save(entry(1, body=b"then"))
    assert store.entry_of("kitchen", "kitchen/1") == entry(1, body=b"then")
    assert files(tmp_path) == 2
    assert store.bytes == opened(tmp_path).bytes


def test_an_event_kept_again_as_it_was_keeps_its_values_and_none_is_left_when_it_goes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for _ in range(3):
        assert store.save(entry(1))
    assert store.entry_of("kitchen", "kitchen/1") == entry(1)
    assert store.bytes == opened(tmp_path).bytes
    assert store.forget("kitchen") == 1
    assert (files(tmp_path), store.bytes) == (0, 0)


def test_what_another_start_kept_is_known_to_be_shared(tmp_path: Path) -> None:
    for n in range(3):
        assert opened(tmp_path).save(entry(n, f"room {n}", b"the same picture"))
    store = opened(tmp_path)
    for n in range(2):
        assert store.forget(f"room {n}") == 1
    assert store.entry_of("room 2", "room 2/2") == entry(2, "room 2", b"the same picture")
    assert store.forget("room 2") == 1
    assert (files(tmp_path), store.bytes) == (0, 0)


def test_an_event_that_was_changed_on_disk_goes_and_its_values_with_the_next_start(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.save(entry(1))
    (manifest,) = tmp_path.glob("events/*/*.json")
    manifest.write_bytes(b"{}")
    assert store.forget("kitchen") == 1
    assert files(tmp_path) == 1
    assert opened(tmp_path).bytes == files(tmp_path) == 0


def test_the_oldest_goes_when_there_is_more_than_may_be(tmp_path: Path) -> None:
    store = opened(tmp_path, bytes_max=20_000)
    for n in range(30):
        store.save(entry(n, at_us=NOW_US + n))
        assert store.bytes <= 20_000
    assert store.entry_of("kitchen", "kitchen/0") is None
    assert store.entry_of("kitchen", "kitchen/29") == entry(29, at_us=NOW_US + 29)
    there = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert there == store.bytes


def test_what_is_older_than_its_days_goes(tmp_path: Path) -> None:
    store = opened(tmp_path, days=2)
    store.save(entry(1, at_us=NOW_US - 3 * DAY_US // 2))
    store.save(entry(2, at_us=NOW_US + DAY_US))
    assert store.entry_of("kitchen", "kitchen/1") is None
    assert store.entry_of("kitchen", "kitchen/2") is not None


def test_no_days_and_no_bytes_keep_nothing_and_touch_nothing(tmp_path: Path) -> None:
    for store in (opened(tmp_path / "x", days=0), opened(tmp_path / "x", bytes_max=0)):
        assert not store.save(entry(1))
    assert not (tmp_path / "x").exists()


def test_a_crash_before_the_manifest_leaves_nothing_behind_the_next_start(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.save(entry(1))
    (next(tmp_path.glob("values/*")) / ("0" * 64)).write_bytes(b"nobody names it")
    (next(tmp_path.glob("events/*")) / ".half").write_bytes(b"half a manifest")
    opened(tmp_path)
    assert files(tmp_path) == 2


def test_a_changed_value_is_gone_and_a_changed_manifest_is_counted(tmp_path: Path) -> None:
    opened(tmp_path).save(entry(1))
    next(tmp_path.glob("values/*/*")).write_bytes(b"forged")
    found = opened(tmp_path).entry_of("kitchen", "kitchen/1")
    assert found is not None
    assert [kept.value for kept in found.media] == [None, b""]
    next(tmp_path.glob("events/*/*.json")).write_bytes(b"{}")
    store = opened(tmp_path)
    assert store.damaged == 1
    assert store.entry_of("kitchen", "kitchen/1") is None


def test_only_one_writes_and_any_may_look_and_forget(tmp_path: Path) -> None:
    one, other, looker = (EventArchive(tmp_path, 7, MB) for _ in range(3))
    one.open(NOW_US)
    with pytest.raises(BlockingIOError):
        other.open(NOW_US)
    one.save(entry(1))
    looker.load()
    assert looker.has("kitchen", "kitchen/1")
    assert [kept.value for kept in looker.media_records("kitchen", RecordPosition("braid.media.video.v1", 0, 1))] == [
        b"picture 1" * 100
    ]
    assert looker.forget("kitchen") == 1
    assert one.entry_of("kitchen", "kitchen/1") is None
    assert files(tmp_path) == 0


def test_names_from_outside_choose_no_place(tmp_path: Path) -> None:
    evil = entry(1, session="../../../tmp/x")
    store = opened(tmp_path / "store")
    assert store.save(evil)
    assert store.entry_of(evil.session, evil.event_id) == evil
    told = json.loads(encode(evil))
    told["media"][0]["sha256"] = "../../x"
    with pytest.raises(InvalidEntry):
        decode(canonical.dumps(told))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_prediction_is_explained_and_reproduced_when_only_its_evidence_is_left(tmp_path: Path) -> None:
    inference = Inference(load(ROOT / "models" / "home" / "1", "cpu"), 1 << 26)
    published = made.published(inference)
    file = RecordingFile(made.write(tmp_path / "S01.mcap", published))
    event = next(
        kept for kept in published if kept.topic == made.TOPICS.events and b'"final":true' in (kept.value or b"")
    )
    told = canonical.loads_object(event.value or b"")
    evidence = find_in_recording(file, made.TOPICS, PredictionKey.parse(told["prediction"]))
    assert evidence is not None
    store = opened(tmp_path / "store", bytes_max=10 * MB)
    assert store.save(build_entry([evidence], [event], told["id"], told["session"], NOW_US))
    found = find_in_archive(store, made.TOPICS, PredictionKey.parse(told["prediction"]))
    assert found is not None
    again = recompute(found, inference)
    assert again is not None
    assert again.record == evidence.value
    assert find_in_archive(store, made.TOPICS, PredictionKey.parse("S01/5/1@000000000000")) is None
