"""Carries out the effects of a batch on the broker."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from services.aligner.partition import Effects, Partition
from services.contract import alignment_config, last_emitted_window, session_reset, tick, window
from services.contract.alignment_config import AlignmentConfig
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.output_events import ALIGNER_SOURCE, OutputHeaders
from services.contract.signature import Signer
from services.contract.topics import Topics
from services.contract.window import Window
from services.kafka import clients, dead_letters

_JSON = [("content-type", b"application/json")]
_WINDOW, _LATE = OutputHeaders("window", ALIGNER_SOURCE), OutputHeaders("late", ALIGNER_SOURCE)
# Topic, partition number, key, value, headers.
_Record = tuple[str, int, bytes | None, bytes | None, list[tuple[str, bytes]]]


class Emitter:
    """Publishes what the aligner produces, to the partition number of the input, and waits for acknowledgements.

    Args:
        producer: An idempotent producer with acks=all, so that a `RecordMetadata` means that the record is stored.
        topics: The topic names.
        config: The alignment settings.
        signer: Signs idle records.
    """

    def __init__(self, producer: AIOKafkaProducer, topics: Topics, config: AlignmentConfig, signer: Signer) -> None:
        self._producer, self._topics, self._signer = producer, topics, signer
        self._settings_record = alignment_config.record_key(config.digest), alignment_config.encode_record(config)

    async def emit(self, batch: Sequence[tuple[Partition, Effects]]) -> None:
        """Publish the outputs of a batch and wait for every acknowledgement. Raises KafkaError."""
        # Publish late and rejected records first: after a crash between the two, a rejected chunk would otherwise be
        # reclassified as late.
        await asyncio.gather(
            *[await self._send(*record) for _, e in batch for record in self._late(e)],
            *(
                dead_letters.publish_all(self._producer, self._topics.dead, e.number, e.dead)
                for _, e in batch
                if e.dead
            ),
        )
        ticks = [await self._send(*record) for _, e in batch for record in self._ticks(e)]
        await asyncio.gather(*ticks, *(self._windows(partition, e.windows) for partition, e in batch if e.windows))

    def _late(self, effects: Effects) -> Iterable[_Record]:
        for chunk, fate in effects.late:
            value = window.encode_late(chunk, fate.missed_us, fate.behind_us)
            session = chunk.session.encode()
            headers = _LATE.build(f"{chunk.modality}/{chunk.partition}/{chunk.offset}", session, chunk.t_us)
            yield self._topics.late, effects.number, session, value, headers

    def _ticks(self, effects: Effects) -> Iterable[_Record]:
        """Yield as few idle records as possible: many sessions in one, by modality and evidence."""
        bounds: dict[tuple[str, tick.TickEvidence], dict[str, int]] = defaultdict(dict)
        for marker in effects.idle_markers:
            bounds[marker.modality, marker.evidence][marker.session] = marker.watermark_us
        for (modality, evidence), by_session in bounds.items():
            topic = self._topics.media(modality)
            for value in tick.encode(by_session, evidence):
                headers = self._signer.sign(topic, effects.number, None, value, tick.headers(value))
                yield topic, effects.number, None, value, headers

    async def _windows(self, partition: Partition, windows: Sequence[Window]) -> None:
        records = [_window_record(w) for w in windows]
        appended_ms = await clients.send_all(self._producer, self._topics.windows, partition.number, records)
        for emitted, at_ms in zip(windows, appended_ms, strict=True):
            if emitted.final:
                partition.on_window_acknowledged(emitted, at_ms * 1000)

    async def publish_settings(self, numbers: Iterable[int]) -> None:
        """Record the alignment settings of these partition numbers in the frontier topic. Raises KafkaError."""
        key, value = self._settings_record
        await asyncio.gather(*[await self._send(self._topics.frontier, number, key, value) for number in numbers])

    async def publish_generations(self, partition: Partition) -> None:
        """Write where new generations of sessions begin. Raises KafkaError."""
        starts = partition.due_generations()
        topic, number = self._topics.control, partition.number
        sent = [
            await self._send(topic, number, session_reset.start_key(start), session_reset.encode_start(start))
            for start in starts
        ]
        await asyncio.gather(*sent)
        partition.on_generations_acknowledged(starts)

    async def publish_frontiers(self, partition: Partition, frontiers: Iterable[LastEmittedWindow], nonce: str) -> None:
        """Write frontier records, then delete those of former owners that they make obsolete. Raises KafkaError."""
        frontiers = list(frontiers)
        if frontiers:
            # Written again each time, since retention deletes old records: it must outlive the frontier records.
            await self.publish_settings([partition.number])
        acknowledgements = [
            await self._send(
                self._topics.frontier,
                partition.number,
                last_emitted_window.key(f.generation_id, nonce),
                last_emitted_window.encode(f),
            )
            for f in frontiers
        ]
        await asyncio.gather(*acknowledgements)
        for f in frontiers:
            for old_key in partition.coverage.on_frontier_acknowledged(f.generation_id, f.start_us):
                await self._send(self._topics.frontier, partition.number, old_key, None)

    async def _send(
        self,
        topic: str,
        number: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]] = _JSON,
    ) -> Awaitable[RecordMetadata]:
        acknowledgement: Awaitable[RecordMetadata] = await self._producer.send(
            topic, value, key=key, partition=number, headers=headers
        )
        return acknowledgement


def _window_record(w: Window) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Return key, value and headers; encoding computes the digest, which the id of an early window has."""
    session, value = w.session.encode(), window.encode(w)
    return session, value, _WINDOW.build(w.id, session, w.start_us)
