"""A record on which the aligner fails: it becomes a dead letter, and what it may have applied in part is built anew."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from services.aligner import worker as worker_module
from services.aligner.alignment import Aligner
from services.aligner.cached_admission import AdmissionCache
from services.aligner.partition import Effects, Partition, RecordError
from services.aligner.recovery import AlignerRecovery, initial_state
from services.aligner.worker import AlignerWorker, ReleasedRecords
from services.contract.dead_letter import Reason, Rejected, UnreadableRecord
from services.contract.kafka_record import LogRecord
from tests.cases.devices import Sent
from tests.cases.outcome import MODALITIES, SEMANTICS
from tests.cases.scene import BOOT_US, PATIENCE, TAIL_MS, TOPICS, Scene

SENT = [Sent(at, "video", at, session="v") for at in range(1_000, 9_000, 500)]
CULPRIT = 3


def scene_of(sent: Sequence[Sent]) -> tuple[Scene, list[tuple[str, LogRecord]]]:
    scene = Scene()
    scene.append_unread(sent, until=9_000)
    return scene, [("video", record) for record in scene.logs["video"]]


def fail_once_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the core fail on the culprit after it has changed its state."""
    add_chunk = Aligner.add_chunk

    def failing(aligner: Aligner, chunk: Any, now_us: int) -> Any:
        result = add_chunk(aligner, chunk, now_us)
        if chunk.offset == CULPRIT:
            raise KeyError("a bug")
        return result

    monkeypatch.setattr(Aligner, "add_chunk", failing)


def test_a_record_that_could_not_be_read_becomes_a_dead_letter_by_position() -> None:
    scene, records = scene_of(SENT)
    at = records[CULPRIT][1].timestamp
    unreadable = UnreadableRecord("t", 0, CULPRIT, at, Rejected(Reason.UNREADABLE, "corrupt"))
    records[CULPRIT] = ("video", unreadable)
    effects = scene.owner.process(records, BOOT_US)
    ((key, letter),) = effects.dead
    assert (key, letter.position.offset, letter.rejected.reason) == (None, CULPRIT, Reason.UNREADABLE)
    assert (letter.payload_bytes, letter.sha256) == (None, None)
    assert effects.fates["video", "windowed"] == len(SENT) - 1


def test_a_failure_of_admission_concerns_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    admit = AdmissionCache.admit

    def failing(cache: AdmissionCache, modality: str, record: LogRecord) -> Any:
        if record.offset == CULPRIT:
            raise RecursionError
        return admit(cache, modality, record)

    monkeypatch.setattr(AdmissionCache, "admit", failing)
    scene, records = scene_of(SENT)
    effects = scene.owner.process(records, BOOT_US)
    assert [(letter.position.offset, letter.rejected.reason) for _, letter in effects.dead] == [(CULPRIT, Reason.ERROR)]
    assert effects.fates["video", "windowed"] == len(SENT) - 1


@pytest.mark.parametrize("owner", [AdmissionCache, Aligner])
def test_a_lack_of_memory_is_no_record_s_fault(monkeypatch: pytest.MonkeyPatch, owner: type) -> None:
    def failing(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(owner, "admit" if owner is AdmissionCache else "add_chunk", failing)
    scene, records = scene_of(SENT)
    with pytest.raises(MemoryError):
        scene.owner.process(records, BOOT_US)


def test_a_failure_of_the_core_names_the_record_and_a_new_partition_rejects_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_once_applied(monkeypatch)
    scene, records = scene_of(SENT)
    with pytest.raises(RecordError) as raised:
        scene.owner.process(records, BOOT_US)
    assert (raised.value.modality, raised.value.offset) == ("video", CULPRIT)


async def test_the_worker_builds_a_partition_anew_without_the_record_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, records = scene_of(SENT)
    good = [record for record in records if record[1].offset != CULPRIT]
    expected = Scene().owner.process(good, BOOT_US)
    fail_once_applied(monkeypatch)

    async def recover(*_: object) -> AlignerRecovery:
        start = initial_state(dict.fromkeys(MODALITIES, 0), [], [], SEMANTICS.digest)
        return AlignerRecovery(start, dict.fromkeys(MODALITIES, 0))

    async def read_partitions(_: object, numbers: Sequence[int], read: Any) -> list[AlignerRecovery]:
        return [await read(None, number) for number in numbers]

    async def do_nothing(*_: object) -> None: ...

    monkeypatch.setattr(worker_module, "recover", recover)
    monkeypatch.setattr(worker_module, "read_partitions", read_partitions)
    config: Any = SimpleNamespace(
        alignment=SEMANTICS,
        timeouts=PATIENCE,
        topics=TOPICS,
        tail_ms=TAIL_MS,
        signer=Scene().owner._signer,
        skew_ms=2_000,
        partitions=1,
    )
    observer: Any = SimpleNamespace(
        on_lost=lambda *_: None, on_batch=lambda *_: None, on_effects=lambda *_: None, on_lag=lambda *_: None
    )
    made: Any = None
    worker = AlignerWorker(config, made, made, made, observer)
    emitted: list[Effects] = []

    async def emit(batch: Sequence[tuple[Partition, Effects]]) -> None:
        emitted.extend(effects for _, effects in batch)

    worker._emitter = SimpleNamespace(publish_settings=do_nothing, emit=emit)  # type: ignore[assignment]
    worker._payloads = SimpleNamespace(put=do_nothing, errors=0)  # type: ignore[assignment]
    sought: dict[TopicPartition, int] = {}
    group: Any = SimpleNamespace(seek=sought.__setitem__, resume=lambda *_: None, paused=set)
    ends = dict.fromkeys(MODALITIES, 0) | {"video": len(records)}
    await worker.on_assigned(group, [0])

    await worker.process(group, {0: ReleasedRecords(records, ends)})
    assert not emitted, "nothing of the batch is published"
    assert sought == {TopicPartition(TOPICS.media(m), 0): 0 for m in MODALITIES}
    await worker.process(group, {0: ReleasedRecords(records, ends)})

    (effects,) = emitted
    assert [(letter.position.offset, letter.rejected.reason) for _, letter in effects.dead] == [(CULPRIT, Reason.ERROR)]
    assert effects.windows == expected.windows
    assert effects.fates["video", "windowed"] == len(good)
