"""The consumer of a service: it reads records, passes batches to the agent, and commits offsets.

Faust's own consumer acknowledges failed batches and skips gaps. This one commits only the offsets that the work returns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import ConsumerRecord
from mode import Service

from services.kafka import wait_for_broker
from services.runtime.health import Progress
from services.runtime.monotonic_clock import monotonic_us

# A commit costs the broker as much as ten records. It waits for so much work, which a restart repeats, or for the longest
# time.
COMMIT_EVERY_US = 500_000
COMMIT_WORK_US = 500_000
COMMIT_AT_LEAST_EVERY_US = 5_000_000
# How long other partition counts must have stood until they are reported.
TOPICS_CHANGED_US = 5_000_000
POLL_MS_MAX = 500
# A batch of a fusion worker may take this long on a busy machine. Killing the process sooner loses no data.
LAST_TURN_S = 60
BROKER_WITHIN_S = 60
BROKER_AGAIN_S = 0.5
AGAIN_S_MAX = 10.0
COMMIT_WITHIN_S = 10
BEGINS_WITHIN_S = 10
Fetched = Mapping[TopicPartition, list[ConsumerRecord]]
_log = logging.getLogger(__name__)


class Work(Protocol):
    """The work of a service on consumed records; `Any` is its own type of batch."""

    async def start(self) -> None:
        """Open resources; the consumer is already started."""

    async def stop(self) -> None:
        """Close resources."""

    async def on_assigned(self, group: AIOKafkaConsumer, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Discard all state and return the start offsets of these partition numbers in all topics."""

    def prepare_batch(self, group: AIOKafkaConsumer, fetched: Fetched, positions: Mapping[TopicPartition, int]) -> Any:
        """Queue fetched records and return the batch that is ready, or a falsy value if none is.

        `positions` are the offsets that the consumer reads next. They may pass the last record's offset + 1: markers of
        transactions and deleted records take offsets too.
        """

    def on_offsets_lost(self, lost: Mapping[TopicPartition, int]) -> None:
        """Count and log offsets that were deleted before they were read; they are an upper bound of the lost records."""

    async def process(self, group: AIOKafkaConsumer, batch: Any) -> None:
        """Process a batch, or start it if `next_deadline_us` asks for another call.

        After a KafkaError that can pass, the records are read again; any other exception ends the process.
        """

    async def reset(self) -> None:
        """Give up unfinished work and connect anew, after the broker or the group failed; `on_assigned` follows."""

    async def flush(self) -> None:
        """Wait until every output that `process` started is acknowledged. Raises as `process`."""

    def next_deadline_us(self) -> int:
        """Return when `process` must run even without records, in monotonic microseconds."""

    async def commit_offsets(self) -> dict[TopicPartition, int]:
        """Return the offsets that may be committed now."""


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """A counter of assignments. It does nothing else because aiokafka swallows exceptions of a listener."""

    def __init__(self) -> None:
        self.number = 0

    def on_partitions_revoked(self, revoked: object) -> None:
        self.number += 1

    def on_partitions_assigned(self, assigned: object) -> None:
        self.number += 1


async def nothing_to_check() -> None:
    """Check nothing."""


class ConsumerLoop(Service):
    """The owner of the group's consumer; batches go through the channel one at a time.

    Args:
        make_consumer: Creates the group consumer.
        topics: Topics to consume.
        work: The work of the service.
        progress: Readiness and heartbeat of the process.
        records_max: Most records in a fetch.
        partitions: How many partitions of each topic are read.
        refusals: Errors of the work that a person must fix first; the error is stored in `refused`.
        check: Called once the broker is reached, before the work starts; what it raises is as an error of the work.
        kwargs: Options of `mode.Service`.
    """

    def __init__(
        self,
        make_consumer: Callable[[], AIOKafkaConsumer],
        topics: Sequence[str],
        work: Work,
        progress: Progress,
        records_max: int,
        partitions: int,
        refusals: tuple[type[Exception], ...] = (),
        check: Callable[[], Awaitable[None]] = nothing_to_check,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.refused: Exception | None = None
        self._refusals, self._check = refusals, check
        self.consumer: AIOKafkaConsumer = None
        self.batches: Any = None
        self._make_consumer = make_consumer
        self._topics, self._work, self._progress, self._records_max = topics, work, progress, records_max
        self._partitions = partitions
        self._assignment = _Assignment()
        self._adopted = -1
        self._ended = asyncio.Event()
        self._opened = False
        self._committed: dict[TopicPartition, int] = {}
        self._positioned: tuple[TopicPartition, ...] = ()
        self._check_us = self._committed_us = self._worked_us = 0
        self._wrong, self._unchanged_us = "", 0
        self._failures = 0

    async def on_start(self) -> None:
        """Connect to the broker and start the work."""
        await self._connect()
        try:
            await wait_for_broker.started(self._check, self._progress, "topics", raises_lasting=True)
            await self._work.start()
        except self._refusals as error:
            self.refused = error
            raise
        self._opened = True

    async def on_stop(self) -> None:
        """Finish and commit the last batch, then close the work and the consumer."""
        if self._opened:
            # Mode calls this while the loop is still in its last turn: the batch is finished and committed first.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LAST_TURN_S)
            await self._work.stop()
        if self.consumer is not None:
            await self.consumer.stop()

    async def _connect(self) -> None:
        """Start the consumer, waiting a while for a broker that is not there. Raises KafkaConnectionError after that."""
        deadline_us = monotonic_us() + BROKER_WITHIN_S * 1_000_000
        while True:
            consumer = self._make_consumer()
            consumer.subscribe(list(self._topics), listener=self._assignment)
            try:
                await consumer.start()
            except KafkaConnectionError as error:
                await consumer.stop()
                if monotonic_us() >= deadline_us:
                    _log.critical("no broker for %s s: is kafka.bootstrap_servers right?", BROKER_WITHIN_S)
                    raise
                if "broker" not in self._progress.not_ready:
                    _log.warning("the broker cannot be reached: waiting for it", extra={"why": str(error)})
                self._progress.not_ready["broker"] = "the broker cannot be reached"
                # Waiting for the broker is what there is to do: the watchdog is for a loop that hangs.
                self._progress.beat()
                await asyncio.sleep(BROKER_AGAIN_S)
            else:
                self.consumer = consumer
                self._progress.not_ready.pop("broker", None)
                return

    @Service.task
    async def _run(self) -> None:
        try:
            while not self.should_stop:
                try:
                    await self._turn()
                    self._failures = 0
                except KafkaError as error:
                    if not wait_for_broker.is_recoverable(error):
                        raise
                    await self._on_failure(error)
                self._progress.beat()
            if not self._failures:
                await self._work.flush()
                await self._commit()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if isinstance(error, self._refusals):
                self.refused = error
            else:
                _log.critical("the service cannot go on", exc_info=error)
            await self.crash(error)
            raise
        finally:
            self._ended.set()

    async def _on_failure(self, error: KafkaError) -> None:
        """Wait a moment; the next turn joins the group anew and reads again from the committed offsets.

        The group may have timed out while the process was starved or paused, a coordinator may have moved, and a
        producer that failed once has a gap in its sequence numbers and fails for ever.
        """
        _log.warning("Kafka failed; records are read again from the commit offsets", extra={"why": repr(error)})
        self._progress.not_ready["group"] = f"Kafka failed and is joined again ({type(error).__name__})"
        await self.sleep(min(BROKER_AGAIN_S * 2**self._failures, AGAIN_S_MAX))
        self._failures += 1

    async def _rejoin(self) -> None:
        self._adopted = -1
        await self.consumer.stop()
        await self._connect()
        await self._work.reset()

    async def _turn(self) -> None:
        if self._failures:
            await self._rejoin()
        if self._adopted != self._assignment.number:
            await self._adopt()
        fetched = await self._fetch()
        if self._adopted != self._assignment.number:
            return  # another member may own these records now; the next turn seeks to the commit offsets
        # Reading a position waits for nothing: every partition was positioned when it was adopted.
        positions = {tp: await self.consumer.position(tp) for tp in self._positioned}
        batch = self._work.prepare_batch(self.consumer, fetched, positions)
        if batch or self._work.next_deadline_us() <= monotonic_us():
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            began_us = monotonic_us()
            await self.batches.put((done, batch))
            await done
            self._worked_us += monotonic_us() - began_us
        if (now_us := monotonic_us()) >= self._check_us:
            if self._worked_us >= COMMIT_WORK_US or now_us >= self._committed_us + COMMIT_AT_LEAST_EVERY_US:
                await self._commit()
                self._committed_us, self._worked_us = monotonic_us(), 0
            self._check_topics()
            self._check_us = monotonic_us() + COMMIT_EVERY_US

    async def _fetch(self) -> Fetched:
        """Return the next records; none if a log has to be positioned anew first."""
        wait_ms = (self._work.next_deadline_us() - monotonic_us()) // 1000
        try:
            fetched: Fetched = await self.consumer.getmany(
                timeout_ms=max(1, min(wait_ms, POLL_MS_MAX)), max_records=self._records_max
            )
        except NoOffsetForPartitionError:
            return {}  # The partition was assigned just now: adopting it sets its position.
        except OffsetOutOfRangeError as error:
            await self._reposition(error.args[0])
            return {}
        return fetched

    async def _reposition(self, out_of_range: Mapping[TopicPartition, int]) -> None:
        """Go on in logs that do not hold the offset to read next: after what was deleted, or else as after an assignment."""
        try:
            begins = await asyncio.wait_for(self.consumer.beginning_offsets(list(out_of_range)), BEGINS_WITHIN_S)
        except (KafkaError, TimeoutError) as error:
            _log.warning("the beginning of a log is not known: the next turn tries again", extra={"why": repr(error)})
            return
        if self._adopted != self._assignment.number:
            return
        for tp, offset in out_of_range.items():
            if offset < begins[tp]:
                self.consumer.seek(tp, begins[tp])
                self._work.on_offsets_lost({tp: begins[tp] - offset})
            else:
                _log.error(
                    "a log does not reach the offset to read next: it was truncated, or its topic was created again",
                    extra={"topic": tp.topic, "partition": tp.partition, "offset": offset},
                )
                self._adopted = -1

    async def _adopt(self) -> None:
        number = self._assignment.number
        assigned = self.consumer.assignment()
        numbers = sorted({tp.partition for tp in assigned})
        if len(assigned) != len(numbers) * len(self._topics):
            raise RuntimeError(
                f"{len(assigned)} partitions of {len(self._topics)} topics were assigned: the topics differ in their "
                "partition counts; `braid topics check` says which"
            )
        await self._work.flush()
        try:
            positions = await self._work.on_assigned(self.consumer, numbers)
        except KafkaTimeoutError as error:
            self._set_not_ready("topics", f"a topic cannot be read ({error}); `braid topics check` says which")
            return
        if number != self._assignment.number:
            return
        for tp, offset in positions.items():
            self.consumer.seek(tp, offset)
        self.consumer.resume(*self.consumer.paused())
        # The next commit is made in any case: the committed offsets may be in no log any more.
        self._committed, self._positioned = {}, tuple(positions)
        self._committed_us = 0
        self._adopted = number
        for reason in ("start", "partitions", "topics", "group"):
            self._progress.not_ready.pop(reason, None)
        self._wrong = self._wrong_topics()
        if self._wrong:
            self._set_not_ready("topics", self._wrong)
        elif not numbers:
            self._progress.not_ready["partitions"] = "no partitions assigned"

    def _check_topics(self) -> None:
        """Notice partition counts that changed since the assignment, once the change has stood for a while.

        The group is only joined anew if its leader notices, and Kafka gives a static member that comes back neither a
        rebalance nor the lead. A broker that has just started may not know all topics yet.
        """
        wrong, now_us = self._wrong_topics(), monotonic_us()
        if wrong == self._wrong:
            self._unchanged_us = now_us
        elif now_us >= self._unchanged_us + TOPICS_CHANGED_US:
            self._wrong, self._unchanged_us = wrong, now_us
            self._progress.not_ready.pop("topics", None)
            if wrong:
                self._set_not_ready("topics", wrong)

    def _wrong_topics(self) -> str:
        """Name the topics whose number of partitions is not the one that is set."""
        counts = {topic: len(self.consumer.partitions_for_topic(topic) or ()) for topic in self._topics}
        wrong = [
            f"{topic} has {count} partitions" if count else f"{topic} does not exist"
            for topic, count in counts.items()
            if count != self._partitions
        ]
        if not wrong:
            return ""
        return f"{', '.join(wrong)}; {self._partitions} of each are read (topics.partitions): run `braid topics check`"

    def _set_not_ready(self, reason: str, text: str) -> None:
        self._progress.not_ready[reason] = text
        _log.error("the topics are not as they must be", extra={"why": text})

    async def _commit(self) -> None:
        if self._adopted != self._assignment.number:
            return
        offsets = await self._work.commit_offsets()
        moved = {tp: offset for tp, offset in offsets.items() if offset > self._committed.get(tp, -1)}
        if not moved or self._adopted != self._assignment.number:
            return
        try:
            # aiokafka retries until the broker is back; without a limit the watchdog would see a hung loop.
            await asyncio.wait_for(self.consumer.commit(moved), COMMIT_WITHIN_S)
        except (CommitFailedError, IllegalStateError):
            return  # the partitions have a new owner: it reads again from the old offsets
        except (KafkaError, TimeoutError) as error:
            if isinstance(error, KafkaError) and not error.retriable:
                raise
            # A late commit only means that a restart repeats records; the next turn tries again.
            _log.warning("the offsets could not be committed: the next turn tries again", extra={"why": repr(error)})
            return
        self._committed.update(moved)
