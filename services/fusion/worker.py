"""The fusion worker's work: windows to acknowledged predictions and events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from heapq import merge

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.contract.dead_letter import Reason, Rejected, make_dead_letter
from services.contract.record import RecordPosition
from services.contract.topics import Topics
from services.contract.window import Member, Window
from services.contract.window_reader import WindowReader
from services.fusion.batching import COMING_US, FULL, NEVER_US, Batcher, BatchTimeModel, QueuedWindow, ReleasedBatch
from services.fusion.consumer_lag import ConsumerLag
from services.fusion.event_detector import EventDetector
from services.fusion.event_tracker import EventTracker
from services.fusion.fetch import PayloadFetcher
from services.fusion.hot_reload import CheckpointReloader
from services.fusion.inference import Inference
from services.fusion.load_shedding import LoadShedder
from services.fusion.metrics import FusionObserver
from services.fusion.pipeline import PredictionPipeline, StagePipeline
from services.fusion.publish import PredictionPublisher
from services.fusion.recovery import StateRecovery
from services.kafka.control_topic import ControlTopic
from services.runtime.clock import monotonic_us
from services.storage.payload_cache import PayloadCache
from services.storage.payload_log import PayloadLog

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadShedConfig:
    """When answers are due (us after the window was sent), and what to do where they cannot be: see `Overload`."""

    deadline_us: int
    step_us: int
    level_max: int


class FusionWorker:
    """Answers windows in order; `process` may leave batches on their way while more is at the broker (see `finish`)."""

    def __init__(
        self,
        reload: CheckpointReloader,
        decision: Callable[[Inference], EventDetector],
        topics: Topics,
        recovery: StateRecovery,
        load: LoadShedConfig,
        make_producer: Callable[[], AIOKafkaProducer],
        make_reader: Callable[[], AIOKafkaConsumer],
        make_payloads: Callable[[], PayloadCache],
        controls: ControlTopic,
        observer: FusionObserver,
    ) -> None:
        self._reload, self._decision = reload, decision
        self._topics, self._recovery, self._observer = topics, recovery, observer
        self._make_producer, self._make_reader, self._make_payloads = make_producer, make_reader, make_payloads
        self._controls = controls
        self._load, self._overload = load, LoadShedder(load.level_max, load.step_us)
        self._decoding, self._inferring = ThreadPoolExecutor(1, "decode"), ThreadPoolExecutor(1, "inference")
        self._reader = WindowReader()
        self._chains: EventTracker
        self._batcher: Batcher
        self._pipeline: StagePipeline
        self._look_us = NEVER_US
        self._behind = ConsumerLag()
        self._free_us: int | None = None
        # Of each log: what is acknowledged, and what was read.
        self._positions: dict[TopicPartition, int] = {}
        self._read: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        first = await asyncio.get_running_loop().run_in_executor(self._inferring, self._reload.load_first)
        self._producer, self._payloads = self._make_producer(), self._make_payloads()
        self._log_reader = self._make_reader()
        for client in (self._producer, self._log_reader, self._controls):
            await client.start()
        self._publisher = PredictionPublisher(self._producer, self._topics, self._observer.traced)
        self._answerer = PredictionPipeline(
            self._topics,
            PayloadFetcher(self._payloads, PayloadLog(self._log_reader, self._topics), self._unknown),
            self._publisher,
            self._payloads,
            self._controls,
            self._observer,
            (self._decoding, self._inferring),
            self._done,
        )
        self._serve(first)

    async def stop(self) -> None:
        await self._pipeline.stop()
        await self._behind.stop()
        for client in (self._controls, self._producer, self._log_reader):
            await client.stop()
        await self._payloads.close()
        self._decoding.shutdown()
        self._inferring.shutdown()
        self._reload.close()
        await asyncio.to_thread(self._observer.close)

    async def on_assigned(self, group: AIOKafkaConsumer, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Forget everything; positions and the sessions' states come from the topics."""
        self._begin(self._chains.detector, self._batcher.batch_time)
        self._positions = {}
        recovered = await self._recovery.recover(group, numbers, self._inference.model.digest)
        for number, found in zip(numbers, recovered, strict=True):
            self._observer.lost(number, found.lost)
            self._chains.states.update(found.states)
            self._positions[TopicPartition(self._topics.windows, number)] = found.offset
        _log.info("adopted", extra={"partitions": len(numbers), "sessions": len(self._chains.states)})
        self._read = dict(self._positions)
        return dict(self._positions)

    def prepare_batch(
        self, group: AIOKafkaConsumer, fetched: Mapping[TopicPartition, list[ConsumerRecord]]
    ) -> list[ConsumerRecord]:
        """All that was fetched, oldest first.

        A merge and not a sort: floors rise record by record, so each log keeps its own order even where the broker's
        clock went back.
        """
        behind = sum(max((group.highwater(tp) or 0) - offset, 0) for tp, offset in self._positions.items())
        found = list(merge(*fetched.values(), key=lambda record: record.timestamp))
        self._observer.lag(self._topics.windows, behind, found[0].timestamp if found else None)
        return found

    async def process(self, group: AIOKafkaConsumer, batch: Sequence[ConsumerRecord]) -> None:
        """Queue what came, and answer while it is time to. Raises KafkaError: the process must end then."""
        queued = [q for q in [await self._window(record) for record in batch] if q is not None]
        self._read |= {TopicPartition(r.topic, r.partition): r.offset + 1 for r in batch}
        self._batcher.add(queued, monotonic_us())
        under_way = (q for released in self._pipeline.in_flight for q in released.windows)
        await self._recovery.look_back([*under_way, *self._batcher.queued], self._chains, self._inference.model.digest)
        newer = self._reload.poll(monotonic_us())
        more = await self._answer(group, drain=newer is not None)
        self._look_us = monotonic_us() + COMING_US if batch and more else NEVER_US
        # With nothing more at the broker, what comes while the last batch is under way is answered together after it.
        if self._look_us == NEVER_US:
            await self.flush()
        if newer is not None:
            self._serve(newer)
        self._observer.reloads(self._reload)

    async def _answer(self, group: AIOKafkaConsumer, *, drain: bool) -> bool:
        """Batches as the first stage frees up, until nothing is queued or waiting pays; whether more is at the broker."""
        while True:
            await self._pipeline.wait_ready()
            now_us = monotonic_us()
            self._behind.refresh(group, self._positions, now_us)
            level = self._overload.update_level(self._behind.records(self._positions))
            self._observer.level(level)
            coming = self._behind.records(self._read) > 0
            released = self._batcher.next_batch(now_us, level, self._chains.last_final_us, coming=coming, drain=drain)
            if released is None:
                return coming and not drain
            if not self._pipeline.in_flight:
                self._free_us = None
            self._pipeline.put(released)

    async def flush(self) -> None:
        """Wait for what is on its way; all that was read and is not queued is acknowledged then. Raises as `process`."""
        await self._pipeline.drain()
        if not self._batcher.queued:
            self._positions = dict(self._read)

    def _done(self, released: ReleasedBatch, device_us: float) -> None:
        """A batch is with the broker: its records are over."""
        self._batcher.complete(released)
        now_us, count = monotonic_us(), len(released.windows) + len(released.skipped)
        # Only full batches right behind each other tell what can be done at most.
        if self._free_us is not None and released.reason == FULL:
            self._overload.observe(count, now_us - self._free_us)
        self._free_us = now_us
        if released.windows:
            self._batcher.batch_time.observe(len(released.windows), device_us)
        for q in (*released.windows, *released.skipped):
            tp = TopicPartition(self._topics.windows, q.partition)
            self._positions[tp] = max(self._positions.get(tp, 0), q.offset + 1)

    def next_deadline_us(self) -> int:
        """When a batch has waited long enough, records that were at the broker did not come, or a newer model may be there."""
        return min(self._batcher.next_deadline_us, self._look_us, self._reload.next_poll_us(NEVER_US))

    async def commit_offsets(self) -> dict[TopicPartition, int]:
        """What is acknowledged: windows that wait in the queue are read again by whoever comes next."""
        return dict(self._positions)

    def _serve(self, inference: Inference) -> None:
        """Answer by this model from now on; sessions begin new chains, for a fold takes only its own model's word."""
        self._inference = inference
        self._begin(self._decision(inference), BatchTimeModel())
        self._observer.model(inference.model)

    def _begin(self, decision: EventDetector, latency: BatchTimeModel) -> None:
        """Start with no window queued and no session known; nothing may be on its way."""
        self._chains = EventTracker(decision)
        self._batcher = Batcher(self._inference.model.batch_windows, latency)
        self._pipeline = self._answerer.build(self._inference, self._chains)

    def _unknown(self, modality: str, members: Sequence[Member]) -> Sequence[Member]:
        return self._inference.undecoded(modality, members)

    async def _window(self, record: ConsumerRecord) -> QueuedWindow | None:
        """A window record; what is none goes to the dead letters, or it would end every worker that meets it."""
        window = self._reader.read(record.value)
        if window is not None and self._is_ours(window, record.partition):
            age_us = int(time.time() * 1_000_000) - record.timestamp * 1000
            due_us = monotonic_us() + self._load.deadline_us - max(age_us, 0)
            return QueuedWindow(record.partition, record.offset, record.timestamp, window, due_us)
        _log.error("a window record cannot be read", extra={"partition": record.partition, "offset": record.offset})
        at, why = (
            RecordPosition(record.topic, record.partition, record.offset),
            Rejected(Reason.RECORD, "no window record"),
        )
        await self._publisher.publish_dead_letter(
            record.partition, record.key, make_dead_letter(at, "fusion", why, record.value, ())
        )
        return None

    def _is_ours(self, window: Window, partition: int) -> bool:
        """True where all members stand where a session's media do: asking for a log that is not there takes forever."""
        lanes = {modality: lane for modality, lane in window.modalities.items() if lane.members}
        at = {member.partition for lane in lanes.values() for member in lane.members}
        return at <= {partition} and lanes.keys() <= set(self._topics.modalities)
