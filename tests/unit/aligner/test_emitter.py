"""The order in which the outputs of a batch are published."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from services.aligner.alignment import Aligner, Late
from services.aligner.emitter import Emitter
from services.aligner.idleness import IdleMarker, IdleTimeouts
from services.aligner.partition import Effects, Partition
from services.aligner.recovery import InitialState
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason, Rejected, make_dead_letter
from services.contract.kafka_record import RecordPosition
from services.contract.signature import Signer
from services.contract.topics import Topics
from tests.unit.aligner.timeline import SEMANTICS

TOPICS = Topics(modalities=SEMANTICS.modalities)


class Producer:
    """Records sends and acknowledgements in order; an acknowledgement takes some turns of the event loop."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    async def send(self, topic: str, value: bytes | None, **_: Any) -> asyncio.Task[Any]:
        self.seen.append(("sent", topic))
        return asyncio.create_task(self._acknowledge(topic))

    def create_batch(self) -> Any:
        return SimpleNamespace(append=lambda **_: True)

    async def send_batch(self, batch: Any, topic: str, **_: Any) -> asyncio.Task[Any]:
        return await self.send(topic, None)

    async def _acknowledge(self, topic: str) -> Any:
        for _ in range(5):
            await asyncio.sleep(0)
        self.seen.append(("acknowledged", topic))
        return SimpleNamespace(timestamp=1)


# A kill between a window and the dead letter of a conflict in it made the conflict late: its window was out.
async def test_late_records_and_dead_letters_are_acknowledged_before_windows_are_sent() -> None:
    aligner = Aligner(SEMANTICS, {})
    chunk = Chunk("s", "audio", "d", "1", 0, 50_000, "a" * 64, 0, 0, 1)
    aligner.add_chunk(chunk, 0)
    refused = make_dead_letter(
        RecordPosition("t", 0, 1), "alignment", Rejected(Reason.CONFLICT, "other bytes"), b"", ()
    )
    effects = Effects(
        0,
        windows=[aligner.early_window(aligner.sessions["s"], 0)],
        late=[(chunk, Late((0,), 0))],
        dead=[(b"s", refused)],
        idle_markers=[IdleMarker("audio", "s", 10_000, "tick")],
    )
    start = InitialState(dict.fromkeys(SEMANTICS.modalities, 0), {}, {}, {})
    partition = Partition(0, 1, SEMANTICS, IdleTimeouts({}, 0, None, 1_000), TOPICS, 0, start)
    producer = Producer()
    await Emitter(producer, TOPICS, SEMANTICS, Signer()).emit([(partition, effects)])
    sent = min(producer.seen.index(("sent", topic)) for topic in (TOPICS.windows, TOPICS.media("audio")))
    assert {topic for what, topic in producer.seen[:sent] if what == "acknowledged"} == {
        TOPICS.late,
        TOPICS.dead,
    }
    assert sorted(producer.seen[sent:]) == [
        ("acknowledged", TOPICS.media("audio")),
        ("acknowledged", TOPICS.windows),
        ("sent", TOPICS.media("audio")),
        ("sent", TOPICS.windows),
    ]
