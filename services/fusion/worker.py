"""The fusion worker: windows to acknowledged predictions and events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import merge

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from services.contract.dead_letter import Reason, Rejected, UnreadableRecord, make_dead_letter, rejected_for
from services.contract.kafka_record import RecordPosition
from services.contract.signature import Signer
from services.contract.topics import Topics
from services.contract.window import Member, Window, WindowDecoder
from services.fusion.batching import COMING_US, FULL, NEVER_US, Batcher, BatchTimeModel, ReleasedBatch
from services.fusion.decode_costly_images import AheadDecoder
from services.fusion.event_detector import EventDetector
from services.fusion.event_tracker import EventTracker
from services.fusion.fair_queue import QueuedWindow
from services.fusion.fetch import PayloadFetcher
from services.fusion.forged_records import ForgedRecordReporter
from services.fusion.hot_reload import CheckpointReloader
from services.fusion.inference import Inference
from services.fusion.load_shedding import LoadShedConfig, LoadShedder
from services.fusion.metrics import FusionObserver
from services.fusion.pipeline import PredictionPipeline, StagePipeline
from services.fusion.publish import PredictionPublisher
from services.fusion.recovery import StateRecovery
from services.kafka.control_topic import ControlTopic
from services.kafka.skipped_records import is_about_record
from services.runtime.monotonic_clock import monotonic_us
from services.storage.payload_cache import Payload, PayloadCache
from services.storage.payload_log import PayloadLog

REFRESH_US = 100_000
# With more windows queued, no more are read.
QUEUE_MAX = 20_000
# A turn of the loop ends after so long, however much is queued: only between turns are offsets committed.
TURN_US = 250_000


class ConsumerLag:
    """Asks for the end offsets of the logs from time to time, and never waits for the answer.

    The consumer's own high-water marks are as old as its last fetch, which may hold more than a minute's work.
    """

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, int] = {}
        self._request: asyncio.Task[dict[TopicPartition, int]] | None = None
        self._next_us = 0

    def refresh(self, group: AIOKafkaConsumer, logs: Collection[TopicPartition], now_us: int) -> None:
        """Take the end offsets that have arrived, and ask again if it is time to."""
        if self._request is not None and self._request.done():
            request, self._request = self._request, None
            # If the broker is unreachable, keep the last known end offsets.
            if request.exception() is None:
                self._ends = request.result()
            elif not isinstance(request.exception(), KafkaError):
                request.result()
        if self._request is None and now_us >= self._next_us and logs:
            self._request = asyncio.ensure_future(group.end_offsets(list(logs)))
            self._next_us = now_us + REFRESH_US

    def records(self, positions: Mapping[TopicPartition, int]) -> int:
        """Return the number of records between these positions and the last known end offsets."""
        return sum(max(self._ends.get(tp, 0) - position, 0) for tp, position in positions.items())

    async def stop(self) -> None:
        """Cancel the request that is under way."""
        if self._request is not None:
            self._request.cancel()
            await asyncio.gather(self._request, return_exceptions=True)
            self._request = None


_log = logging.getLogger(__name__)


class FusionWorker:
    """Predicts windows in order; `process` may leave batches in flight while more is at the broker (see `flush`)."""

    def __init__(
        self,
        reloader: CheckpointReloader,
        topics: Topics,
        recovery: StateRecovery,
        load_shedding: LoadShedConfig,
        make_producer: Callable[[], AIOKafkaProducer],
        make_reader: Callable[[], AIOKafkaConsumer],
        make_payloads: Callable[[], PayloadCache],
        controls: ControlTopic,
        observer: FusionObserver,
        signer: Signer,
        forged: ForgedRecordReporter,
    ) -> None:
        self._reloader = reloader
        self._topics, self._recovery, self._observer = topics, recovery, observer
        self._make_producer, self._make_reader, self._make_payloads = make_producer, make_reader, make_payloads
        self._controls, self._signer, self._forged = controls, signer, forged
        self._deadline_us = load_shedding.deadline_us
        # New sessions have a level of their own: a flood of them sheds no load of the others.
        self._load_shedder = LoadShedder(load_shedding.level_max, load_shedding.step_us)
        self._load_shedder_of_new = LoadShedder(load_shedding.level_max, load_shedding.step_us)
        self._ahead = AheadDecoder(self._resume)
        self._decoding, self._inferring = ThreadPoolExecutor(1, "decode"), ThreadPoolExecutor(1, "inference")
        self._decoder = WindowDecoder()
        self._tracker: EventTracker
        self._batcher: Batcher
        self._pipeline: StagePipeline
        self._next_record_us = NEVER_US
        self._lag = ConsumerLag()
        self._free_us: int | None = None
        # By log, the offset that follows what is acknowledged, what is queued, and what was fetched.
        self._positions: dict[TopicPartition, int] = {}
        self._read: dict[TopicPartition, int] = {}
        self._fetched: Mapping[TopicPartition, int] = {}

    async def start(self) -> None:
        """Load the model and connect."""
        first = await asyncio.get_running_loop().run_in_executor(self._inferring, self._reloader.load_first)
        self._payloads = self._make_payloads()
        await self._controls.start()
        await self._connect()
        self._serve(first)

    async def _connect(self) -> None:
        self._producer, self._log_reader = self._make_producer(), self._make_reader()
        for client in (self._producer, self._log_reader):
            await client.start()
        self._publisher = PredictionPublisher(self._producer, self._topics, self._observer.traced)
        self._predictor = PredictionPipeline(
            self._topics,
            PayloadFetcher(self._payloads, PayloadLog(self._log_reader, self._topics), self._undecoded),
            self._publisher,
            self._payloads,
            self._controls,
            self._observer,
            (self._decoding, self._inferring),
            self._done,
            self._put_off,
            lambda session, us: self._batcher.charge(session, us),
        )

    async def stop(self) -> None:
        """Cancel batches in flight and disconnect."""
        await self._forged.stop()
        await self._ahead.stop()
        await self._pipeline.stop()
        await self._lag.stop()
        for client in (self._controls, self._producer, self._log_reader):
            await client.stop()
        await self._payloads.close()
        self._decoding.shutdown()
        self._inferring.shutdown()
        self._reloader.close()
        await asyncio.to_thread(self._observer.close)

    async def reset(self) -> None:
        """Cancel batches in flight and replace the connections to the broker. Raises KafkaError."""
        await self._pipeline.stop()
        await self._lag.stop()
        for client in (self._producer, self._log_reader):
            await client.stop()
        await self._connect()
        self._begin(self._tracker.detector, self._batcher.batch_time)

    async def on_assigned(self, group: AIOKafkaConsumer, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Start anew with the given partitions: positions and the states of sessions come from the topics."""
        await self._ahead.clear()
        self._begin(self._tracker.detector, self._batcher.batch_time)
        self._positions = {}
        recovered = await self._recovery.recover(group, numbers, self._inference.model.digest)
        for number, partition in zip(numbers, recovered, strict=True):
            self._observer.lost(number, partition.lost)
            self._tracker.states.update(partition.states)
            self._positions[TopicPartition(self._topics.windows, number)] = partition.offset
        _log.info("adopted", extra={"partitions": len(numbers), "sessions": len(self._tracker.states)})
        self._read = self._fetched = dict(self._positions)
        await self._forged.assign(numbers)
        return dict(self._positions)

    def prepare_batch(
        self,
        group: AIOKafkaConsumer,
        fetched: Mapping[TopicPartition, list[ConsumerRecord]],
        positions: Mapping[TopicPartition, int],
    ) -> list[ConsumerRecord]:
        """Return all that was fetched, oldest first.

        A merge and not a sort: commit offsets rise record by record, so each log keeps its own order even if the
        broker's clock was set back.
        """
        self._fetched = positions
        lag = sum(max((group.highwater(tp) or 0) - offset, 0) for tp, offset in self._positions.items())
        records = list(merge(*fetched.values(), key=lambda record: record.timestamp))
        self._observer.lag(self._topics.windows, lag, records[0].timestamp if records else None)
        return records

    def on_offsets_lost(self, lost: Mapping[TopicPartition, int]) -> None:
        """Count windows that were deleted before they were read."""
        for tp, count in lost.items():
            self._observer.lost(tp.partition, count)

    async def process(self, group: AIOKafkaConsumer, batch: Sequence[ConsumerRecord]) -> None:
        """Queue the records, and predict as long as it is time to.

        Raises:
            KafkaError: The process must end.
        """
        queued = [q for q in [await self._window(record) for record in batch] if q is not None]
        await self._recovery.look_back(queued, self._tracker, self._batcher.last_added_us, self._inference.model.digest)
        self._batcher.add(queued, monotonic_us())
        # Only now: a batch that ends meanwhile acknowledges what was read up to the first window that is not published.
        self._read = dict(self._fetched)
        newer = self._reloader.poll(monotonic_us())
        more = await self._predict(group, drain=newer is not None)
        self._next_record_us = monotonic_us() + COMING_US if batch and more else NEVER_US
        # With nothing more at the broker, what arrives while the last batch is in flight is predicted together after it.
        if self._next_record_us == NEVER_US and not self._batcher.is_ready:
            await self.flush()
        if newer is not None:
            self._serve(newer)
        self._observer.reloads(self._reloader)

    async def _predict(self, group: AIOKafkaConsumer, *, drain: bool) -> bool:
        """Start batches as the first stage frees up, until none is queued or waiting pays; True if more is at the broker.

        If more is there it returns after each batch, so that what arrives for other sessions takes part in the next one.
        """
        until_us = monotonic_us() + TURN_US
        while True:
            await self._pipeline.wait_ready()
            now_us = monotonic_us()
            batcher = self._batcher
            if len(batcher) >= batcher.size:
                # Behind fewer windows the next fetch follows at once, and shows what is at the broker.
                self._lag.refresh(group, self._positions, now_us)
            unread = self._lag.records(self._read)
            started = unread + sum(len(one.windows) + len(one.skipped) for one in self._pipeline.in_flight)
            level = self._load_shedder.update_level(started + batcher.old_count)
            level_of_new = self._load_shedder_of_new.update_level(started + len(batcher))
            self._observer.level(max(level, level_of_new))
            coming = unread > 0
            released = batcher.next_batch(
                now_us,
                level,
                self._tracker.last_final_us,
                level_of_new=level_of_new,
                coming=coming,
                drain=drain,
            )
            if released is None:
                if self._ahead.is_busy and drain:
                    await self._ahead.drain()
                    continue
                return coming and not drain
            if not self._pipeline.in_flight:
                self._free_us = None
            self._pipeline.put(released)
            if not drain and ((coming and len(batcher) < QUEUE_MAX) or monotonic_us() >= until_us):
                return coming

    async def flush(self) -> None:
        """Wait for the batches in flight; then all that was read and is not queued is acknowledged. Raises as `process`."""
        await self._pipeline.drain()
        self._update_positions()

    def _done(self, released: ReleasedBatch, device_us: float) -> None:
        """Count the records of a published batch as acknowledged; device_us: how long the model took."""
        self._batcher.complete(released)
        now_us, count = monotonic_us(), len(released.windows) + len(released.skipped)
        # Only full batches without a pause between them show the highest possible rate.
        if self._free_us is not None and released.reason == FULL and count:
            for shedder in (self._load_shedder, self._load_shedder_of_new):
                shedder.observe(count, now_us - self._free_us)
        self._free_us = now_us
        if released.windows:
            self._batcher.batch_time.observe(len(released.windows), device_us)
        self._update_positions()

    def _update_positions(self) -> None:
        """Acknowledge all that was read up to the first window of each partition that is not published."""
        for tp, read in self._read.items():
            first = self._batcher.first_unfinished(tp.partition)
            self._positions[tp] = read if first is None else first

    def _put_off(self, inference: Inference, queued: list[QueuedWindow], members: list[tuple[Member, Payload]]) -> None:
        self._batcher.put_off(queued)
        self._ahead.put(inference, queued, members)

    def _resume(self, queued: Sequence[QueuedWindow], took_us: float) -> None:
        self._batcher.resume(queued, took_us)

    def next_deadline_us(self) -> int:
        """Return when a batch has waited long enough, expected records did not come, or a newer model may be there."""
        return min(self._batcher.next_deadline_us, self._next_record_us, self._reloader.next_poll_us(NEVER_US))

    async def commit_offsets(self) -> dict[TopicPartition, int]:
        """Return the acknowledged offsets: queued windows are read again after a restart. Raises as `process`."""
        if not self._pipeline.in_flight:
            # What was read last may be no record, and then `process` is not called.
            self._read = dict(self._fetched)
            await self.flush()
        return dict(self._positions)

    def _serve(self, inference: Inference) -> None:
        """Predict with this model from now on. A new model resets event state: state is per model digest."""
        self._inference = inference
        self._begin(EventDetector.of_model(inference.model), BatchTimeModel())
        self._observer.model(inference.model)

    def _begin(self, detector: EventDetector, batch_time: BatchTimeModel) -> None:
        """Start with no window queued and no session known; no batch may be in flight."""
        self._tracker = EventTracker(detector)
        self._batcher = Batcher(self._inference.model.batch_windows, batch_time)
        self._pipeline = self._predictor.build(self._inference, self._tracker)

    def _undecoded(self, modality: str, members: Sequence[Member]) -> Sequence[Member]:
        return self._inference.undecoded(modality, members)

    async def _window(self, record: ConsumerRecord) -> QueuedWindow | None:
        """Decode a window record; an invalid one becomes a dead letter, or it would stop every worker that reads it."""
        if isinstance(record, UnreadableRecord):
            await self._reject(record, record.rejected)
            return None
        if not self._signer.verify(record.topic, record.partition, record):
            await self._reject(record, Rejected(Reason.FORGED, "a window that no service signed for this place"))
            return None
        try:
            window = self._decoder.decode_or_none(record.value)
        except Exception as error:  # whatever it is, the windows after this one are predicted
            if not is_about_record(error):
                raise
            await self._reject(record, rejected_for(error))
            return None
        if window is not None and self._has_own_members(window, record.partition):
            age_us = int(time.time() * 1_000_000) - record.timestamp * 1000
            due_us = monotonic_us() + self._deadline_us - max(age_us, 0)
            return QueuedWindow(record.partition, record.offset, record.timestamp, window, due_us)
        await self._reject(record, Rejected(Reason.RECORD, "no window record"))
        return None

    async def _reject(self, record: ConsumerRecord, rejected: Rejected) -> None:
        position = RecordPosition(record.topic, record.partition, record.offset)
        _log.error(
            "a window record is rejected",
            extra={"partition": record.partition, "offset": record.offset, "reason": rejected.reason},
        )
        letter = make_dead_letter(position, "fusion", rejected, record.value, ())
        await self._publisher.publish_dead_letter(record.partition, record.key, letter)

    def _has_own_members(self, window: Window, partition: int) -> bool:
        """True if all members are in the session's partition: reading a log that does not exist would wait for ever."""
        streams = {modality: stream for modality, stream in window.modalities.items() if stream.members}
        at = {member.partition for stream in streams.values() for member in stream.members}
        return at <= {partition} and streams.keys() <= set(self._topics.modalities)
