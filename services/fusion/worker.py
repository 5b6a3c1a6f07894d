"""The fusion worker's work: windows to acknowledged predictions and events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.contract import window as window_record
from services.contract.dead import DeadLetter, Position, letter
from services.contract.reason import Reason, Rejected
from services.contract.topics import Topics
from services.contract.window import Member, Window
from services.control.follow import Controls
from services.fusion.batch import batches, worth_answering
from services.fusion.decide import Decision, State
from services.fusion.events import Chains
from services.fusion.fetch import Fetcher
from services.fusion.infer import Inference
from services.fusion.observe import Observer
from services.fusion.predicted import Predicted
from services.fusion.publish import Publisher, Said
from services.fusion.recover import Recovered, recover, states_since
from services.fusion.reload import Reload
from services.fusion.resume import UNREAD_US, look_back_us, newest
from services.payloads.log_reader import LogReader
from services.payloads.place import Place, place_of
from services.payloads.redis_window import Payload, RedisWindow
from services.runtime.log_range import with_readers
from services.runtime.monotonic import monotonic_us

NEVER_DUE_US = 1 << 62
REPORTED_MAX = 10_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Queued:
    """A window record as it was read: partition number, broker time of the record, and the window."""

    number: int
    appended_ms: int
    window: Window


class Worker:
    """Answers windows in order; `process` returns once predictions and events are acknowledged."""

    def __init__(
        self,
        reload: Reload,
        decision: Callable[[Inference], Decision],
        topics: Topics,
        tail_ms: int,
        future_us: int,
        make_producer: Callable[[], AIOKafkaProducer],
        make_reader: Callable[[str], AIOKafkaConsumer],
        make_payloads: Callable[[], RedisWindow],
        controls: Controls,
        observer: Observer,
    ) -> None:
        self._reload, self._decision = reload, decision
        self._topics, self._tail_ms, self._future_us, self._observer = topics, tail_ms, future_us, observer
        self._make_producer, self._make_reader, self._make_payloads = make_producer, make_reader, make_payloads
        self._controls = controls
        # One thread: torch is not asked twice at a time, and the loop goes on meanwhile.
        self._thread = ThreadPoolExecutor(1, "inference")
        self._chains: Chains
        self._positions: dict[TopicPartition, int] = {}
        self._read_since_us: dict[int, int] = {}
        self._reported: OrderedDict[Place, None] = OrderedDict()

    async def start(self) -> None:
        self._serve(await asyncio.get_running_loop().run_in_executor(self._thread, self._reload.first))
        self._producer, self._payloads = self._make_producer(), self._make_payloads()
        self._log_reader = self._make_reader("none")
        for client in (self._producer, self._log_reader, self._controls):
            await client.start()
        self._fetcher = Fetcher(self._payloads, LogReader(self._log_reader, self._topics), self._known)
        self._publisher = Publisher(self._producer, self._topics)

    async def stop(self) -> None:
        for client in (self._controls, self._producer, self._log_reader):
            await client.stop()
        await self._payloads.close()
        self._thread.shutdown()
        self._reload.close()

    async def adopt(self, group: AIOKafkaConsumer, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Forget everything; positions and the sessions' states come from the topics."""
        self._chains = Chains(self._chains.decision)
        self._positions, self._read_since_us = {}, {}
        digest = self._inference.model.digest

        async def read(reader: AIOKafkaConsumer, number: int) -> Recovered:
            return await recover(group, reader, self._topics, number, self._tail_ms, digest)

        readers = with_readers(lambda: self._make_reader("earliest"), numbers, read)
        for number, found in zip(numbers, await readers, strict=True):
            self._observer.lost(number, found.lost)
            self._chains.states.update(found.states)
            self._read_since_us[number] = found.read_since_us
            self._positions[TopicPartition(self._topics.windows, number)] = found.position
        _log.info("adopted", extra={"partitions": len(numbers), "sessions": len(self._chains.states)})
        return dict(self._positions)

    def sort(
        self, group: AIOKafkaConsumer, fetched: Mapping[TopicPartition, list[ConsumerRecord]]
    ) -> list[ConsumerRecord]:
        """All that was fetched, oldest first."""
        behind = sum(max((group.highwater(tp) or 0) - offset, 0) for tp, offset in self._positions.items())
        found = sorted((r for records in fetched.values() for r in records), key=lambda r: (r.timestamp, r.offset))
        self._observer.lag(self._topics.windows, behind, found[0].timestamp if found else None)
        return found

    async def process(self, group: AIOKafkaConsumer, batch: Sequence[ConsumerRecord]) -> None:
        """Answer a batch. Raises KafkaError: the process must end then."""
        newer = self._reload.look(monotonic_us())
        if newer is not None:
            self._serve(newer)
        self._observer.reloads(self._reload)
        queued = [q for q in [await self._read(record) for record in batch] if q is not None]
        await self._look_back(queued)
        keep = worth_answering([q.window for q in queued], self._chains.last_us)
        self._observer.dropped(sum(not k and not q.window.final for k, q in zip(keep, queued, strict=True)))
        left = [q for k, q in zip(keep, queued, strict=True) if k]
        size = self._inference.model.batch_windows
        at = 0
        for windows, release in batches([q.window for q in left], size):
            await self._answer(left[at : at + len(windows)], release)
            at += len(windows)
        for record in batch:
            self._positions[TopicPartition(record.topic, record.partition)] = record.offset + 1

    async def _look_back(self, queued: Sequence[Queued]) -> None:
        """Read the states of predecessors that were predicted before what recovery read."""
        since_us: dict[int, int] = {}
        for number in {q.number for q in queued}:
            read_us = UNREAD_US if self._chains.forgot else self._read_since_us[number]
            windows = (q.window for q in queued if q.number == number)
            wanted_us = look_back_us(windows, self._chains.states, read_us, self._future_us)
            if wanted_us is not None:
                since_us[number] = wanted_us

        async def read(reader: AIOKafkaConsumer, number: int) -> Mapping[str, State]:
            return await states_since(reader, self._topics, number, since_us[number], self._inference.model.digest)

        readers = with_readers(lambda: self._make_reader("earliest"), list(since_us), read)
        for number, states in zip(since_us, await readers, strict=True):
            self._read_since_us[number] = since_us[number]
            for session, state in states.items():
                newest(self._chains.states, session, state)

    def next_us(self) -> int:
        """Without windows there is only to look for a newer model."""
        return self._reload.next_us(NEVER_DUE_US)

    async def floors(self) -> dict[TopicPartition, int]:
        """Everything handed over is acknowledged: the floors are the positions."""
        return dict(self._positions)

    def _serve(self, inference: Inference) -> None:
        """Answer by this model from now on; sessions begin new chains, for a fold takes only its own model's word."""
        self._inference = inference
        self._chains = Chains(self._decision(inference))
        self._observer.model(inference.model)

    def _known(self, modality: str, member: Member) -> bool:
        return self._inference.known(modality, member)

    async def _read(self, record: ConsumerRecord) -> Queued | None:
        """A window record; what is none goes to the dead letters, or it would end every worker that meets it."""
        window = window_record.read(record.value)
        if window is not None:
            return Queued(record.partition, record.timestamp, window)
        _log.error("a window record cannot be read", extra={"partition": record.partition, "offset": record.offset})
        at, why = Position(record.topic, record.partition, record.offset), Rejected(Reason.RECORD, "no window record")
        await self._publisher.refuse(record.partition, record.key, letter(at, "fusion", why, record.value, ()))
        return None

    async def _answer(self, queued: Sequence[Queued], release: str) -> None:
        picked_ms, began_us = time.time() * 1000, monotonic_us()
        self._controls.check()
        windows = [self._controls.over(q.window) for q in queued]
        found = await self._fetcher.get(windows)
        fetched_us = monotonic_us()
        loop = asyncio.get_running_loop()
        predicted = await loop.run_in_executor(self._thread, self._predict, windows, found)
        now_muted = [self._controls.over(q.window) for q in queued]
        if now_muted != windows:
            # Said while the model thought: what it made of it is not used.
            found = await self._fetcher.get(now_muted)
            predicted = await loop.run_in_executor(self._thread, self._predict, now_muted, found)
        inferred_us = monotonic_us()
        spent = {"fetch": (fetched_us - began_us) / 1000, **self._inference.took_ms}
        said = []
        for q, p in zip(queued, predicted, strict=True):
            events = self._chains.take(p)
            w = q.window
            waited = [
                ("align_wait", max(w.closed_us - w.opened_us, 0) / 1000),
                ("transport", max(q.appended_ms - w.closed_us / 1000, 0.0)),
                ("queue", max(picked_ms - q.appended_ms, 0.0)),
            ]
            parts = [*waited, *spent.items(), ("publish", (monotonic_us() - inferred_us) / 1000)]
            state = self._chains.states.get(w.session) if w.final and p.answer.label is not None else None
            said.append(Said(q.number, p, state, events, self._letters(p, found), parts))
        await self._publisher.publish(said)
        self._observer.batch(said, release, self._inference, self._fetcher, self._payloads.errors, spent)

    def _predict(self, windows: Sequence[Window], found: Mapping[Place, Payload]) -> list[Predicted]:
        """Predictions of a batch; where the model fails the batch is split until the culprit is alone."""
        try:
            return self._inference.predict(windows, found)
        except (RuntimeError, ValueError, MemoryError, ArithmeticError, LookupError, TypeError) as error:
            if len(windows) == 1:
                _log.error("the model failed on a window", extra={"why": type(error).__name__})
                return [self._inference.failed(windows[0], type(error).__name__)]
            half = len(windows) // 2
            return self._predict(windows[:half], found) + self._predict(windows[half:], found)

    def _letters(self, predicted: Predicted, found: Mapping[Place, Payload]) -> tuple[DeadLetter, ...]:
        """A dead letter for each member that cannot be used, once, though it stands in several windows."""
        letters = []
        for modality, member, rejected in predicted.unusable:
            place = place_of(modality, member)
            if place not in self._reported:
                self._reported[place] = None
                payload = found.get(place)
                at = Position(self._topics.media(modality), member.partition, member.offset)
                size = None if payload is None else len(payload.body)
                letters.append(DeadLetter(at, "fusion", rejected, size, member.sha256, ()))
        while len(self._reported) > REPORTED_MAX:
            self._reported.popitem(last=False)
        return tuple(letters)
