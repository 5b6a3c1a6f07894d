"""The prediction pipeline: batches of windows to acknowledged predictions, in stages that run side by side.

While one batch is at the device, the next one is fetched and decoded, and the one before is published.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract.dead_letter import DeadLetter
from services.contract.kafka_record import MemberPosition, RecordPosition
from services.contract.topics import Topics
from services.contract.window import Member, Window, position_of
from services.fusion.batching import ReleasedBatch
from services.fusion.decode_costly_images import costly_members
from services.fusion.event_tracker import EventTracker, is_foldable
from services.fusion.fair_queue import QueuedWindow
from services.fusion.fetch import PayloadFetcher
from services.fusion.inference import Inference
from services.fusion.metrics import FusionObserver
from services.fusion.publish import PredictionPublisher, PublishedPrediction
from services.fusion.stage_values import FAILURES, ModelInputs, ModelOutputs, WindowPrediction
from services.kafka.control_topic import ControlTopic
from services.runtime.monotonic_clock import monotonic_us
from services.storage.payload_cache import Payload, PayloadCache


class StagePipeline:
    """Stages that each have one batch at a time; batches pass all stages in the order in which they were put.

    Each stage takes what the one before it returned. After the first failure of a stage no batch goes on to another
    stage, and `wait_ready` and `drain` raise the failure.
    """

    def __init__(self, *stages: Callable[[Any], Awaitable[Any]]) -> None:
        self._stages = stages
        self._free = [asyncio.Lock() for _ in stages]
        self._tasks: dict[asyncio.Task[None], Any] = {}
        self._failure: BaseException | None = None
        self._held = False

    @property
    def in_flight(self) -> Sequence[Any]:
        """The batches that were put and have not passed all stages, oldest first."""
        return tuple(self._tasks.values())

    async def wait_ready(self) -> None:
        """Wait until the first stage is free; the caller then puts a batch, now or later."""
        if not self._held:
            await self._free[0].acquire()
            self._held = True
        self._raise_failure()

    def put(self, batch: Any) -> None:
        """Hand a batch to the first stage, after `wait_ready`."""
        self._held = False
        task = asyncio.get_running_loop().create_task(self._through(batch))
        self._tasks[task] = batch
        task.add_done_callback(self._tasks.pop)

    async def drain(self) -> None:
        """Wait until every batch has passed all stages."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._raise_failure()

    async def stop(self) -> None:
        """Cancel the batches in flight."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _through(self, batch: Any) -> None:
        held = self._free[0]
        try:
            for stage, free in zip(self._stages, self._free, strict=True):
                if free is not held:
                    # Locks are fair, and the next one is requested before the previous one is released: no batch overtakes.
                    await free.acquire()
                    held.release()
                    held = free
                if self._failure is not None:
                    return
                batch = await stage(batch)
        except BaseException as error:
            # A batch that was cancelled is as lost as one that failed: none after it may count as done.
            self._failure = self._failure or error
            if not isinstance(error, Exception):
                raise
        finally:
            held.release()


REPORTED_MAX = 10_000
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PipelineBatch:
    """A batch as it passes the stages."""

    released: ReleasedBatch
    picked_ms: float
    began_us: int
    payloads: Mapping[MemberPosition, Payload] = field(default_factory=dict)
    inputs: ModelInputs | None = None
    outputs: asyncio.Future[ModelOutputs] | None = None
    rows: Sequence[NDArray[np.float64]] = ()
    held_ms: float = 0.0
    inferred_us: int = 0
    published: Sequence[PublishedPrediction] = ()
    spent_ms: dict[str, float] = field(default_factory=dict)


class PredictionPipeline:
    """Fetches and decodes, infers, detects events, and publishes: each stage a batch at a time, all in order.

    Args:
        topics: The names of the topics.
        fetcher: Fetches payloads.
        publisher: Publishes predictions.
        payloads: The payload cache, whose errors are counted.
        controls: The mutes and forgotten sessions.
        observer: Counts batches.
        threads: One to decode and to explain, and one for the device alone, so that it never waits for other work.
        on_published: Called with each batch once the broker has all of it, and how long the model took (us).
        on_put_off: Called with windows of one session whose first one needs costly payloads, and these.
        on_decoded: Called with the session of each window that was decoded, and how long that took (us).
    """

    def __init__(
        self,
        topics: Topics,
        fetcher: PayloadFetcher,
        publisher: PredictionPublisher,
        payloads: PayloadCache,
        controls: ControlTopic,
        observer: FusionObserver,
        threads: tuple[Executor, Executor],
        on_published: Callable[[ReleasedBatch, float], None],
        on_put_off: Callable[[Inference, list[QueuedWindow], list[tuple[Member, Payload]]], None],
        on_decoded: Callable[[str, float], None],
    ) -> None:
        self._topics, self._fetcher, self._publisher = topics, fetcher, publisher
        self._payloads, self._controls, self._observer, self._on_published = payloads, controls, observer, on_published
        self._decoding, self._inferring = threads
        self._on_put_off, self._on_decoded = on_put_off, on_decoded
        self._reported: OrderedDict[MemberPosition, None] = OrderedDict()

    def build(self, inference: Inference, tracker: EventTracker) -> StagePipeline:
        """Build the pipeline of one model; final predictions advance the tracker's states."""
        loop = asyncio.get_running_loop()

        async def decode(released: ReleasedBatch) -> PipelineBatch:
            batch = PipelineBatch(released, time.time() * 1000, monotonic_us())
            self._controls.raise_if_failed()
            windows = [self._controls.with_mutes(q.window) for q in released.windows]
            if windows:
                batch.payloads = await self._fetcher.fetch(windows)
                released = batch.released = self._put_off_costly(released, windows, batch.payloads, inference)
                windows = [self._controls.with_mutes(q.window) for q in released.windows]
            if windows:
                batch.spent_ms = {"fetch": (monotonic_us() - batch.began_us) / 1000}
                batch.inputs = await loop.run_in_executor(
                    self._decoding, inference.decode, windows, batch.payloads, released.level
                )
                for window, decoded in zip(windows, batch.inputs.per_window, strict=True):
                    self._on_decoded(window.session, decoded.took_us)
                # Queued at the device right after its predecessor, which thus never waits for this event loop.
                batch.outputs = loop.run_in_executor(self._inferring, inference.infer, batch.inputs)
            return batch

        async def infer(batch: PipelineBatch) -> PipelineBatch:
            if batch.outputs is not None and batch.inputs is not None:
                outputs = await batch.outputs
                batch.rows, batch.inferred_us = outputs.rows, outputs.ended_us
                batch.spent_ms |= {
                    "decode": batch.inputs.took_ms,
                    "encode": outputs.encode_us / 1000,
                    "fuse": outputs.fuse_us / 1000,
                }
                # A batch waits for the device if its predecessor takes longer than fetching and decoding.
                held_ms = (
                    (outputs.began_us - batch.began_us) / 1000 - batch.spent_ms["fetch"] - batch.spent_ms["decode"]
                )
                batch.held_ms = max(held_ms, 0.0)
            return batch

        async def explain(batch: PipelineBatch) -> PipelineBatch:
            if batch.inputs is not None:
                inputs = batch.inputs
                windows = [self._controls.with_mutes(window) for window in inputs.windows]
                if windows != list(inputs.windows):
                    # Muted during inference: recompute without the modality.
                    batch.payloads = await self._fetcher.fetch(windows)
                    inputs = await loop.run_in_executor(
                        self._decoding, inference.decode, windows, batch.payloads, batch.released.level
                    )
                    batch.rows = (await loop.run_in_executor(self._inferring, inference.infer, inputs)).rows
                predicted = await loop.run_in_executor(self._decoding, inference.to_predictions, inputs, batch.rows)
                batch.published = self._to_publish(batch, predicted, tracker)
            return batch

        async def publish(batch: PipelineBatch) -> None:
            if batch.published:
                await self._publisher.publish(batch.published)
                now_us = monotonic_us()
                missed = sum(now_us > q.due_us for q in batch.released.windows)
                self._observer.batch(
                    batch.published,
                    batch.released,
                    missed,
                    inference,
                    self._fetcher,
                    self._payloads.errors,
                    batch.spent_ms,
                )
            self._observer.passed(batch.released)
            spent = batch.spent_ms
            self._on_published(batch.released, 1000 * (spent["encode"] + spent["fuse"]) if batch.published else 0.0)

        return StagePipeline(decode, infer, explain, publish)

    def _put_off_costly(
        self,
        released: ReleasedBatch,
        windows: Sequence[Window],
        payloads: Mapping[MemberPosition, Payload],
        inference: Inference,
    ) -> ReleasedBatch:
        """Return the batch without the windows that need costly payloads and those of their sessions that follow."""
        put_off: dict[str, list[QueuedWindow]] = {}
        costly: dict[str, list[tuple[Member, Payload]]] = {}
        for q, window in zip(released.windows, windows, strict=True):
            if window.session in put_off:
                put_off[window.session].append(q)
            elif not q.prepared and (members := costly_members(window, payloads)):
                put_off[window.session], costly[window.session] = [q], members
        if not put_off:
            return released
        for session, queued in put_off.items():
            self._on_put_off(inference, queued, costly[session])
        return replace(
            released,
            windows=[
                q for q in released.windows if q.window.session not in put_off or q not in put_off[q.window.session]
            ],
        )

    def _to_publish(
        self, batch: PipelineBatch, predicted: Sequence[WindowPrediction], tracker: EventTracker
    ) -> Sequence[PublishedPrediction]:
        published = []
        for q, p in zip(batch.released.windows, predicted, strict=True):
            try:
                events = tracker.update(p)
            except FAILURES as error:
                # The state may have changed in part: it is read back from the topic when the next window needs it.
                _log.error("event detection failed on a window", extra={"why": type(error).__name__})
                tracker.states.pop(q.window.generation_id, None)
                events = ()
            state = tracker.states.get(q.window.generation_id) if q.window.final and is_foldable(p) else None
            parts = [*_waited(q, batch.picked_ms, batch.held_ms), *batch.spent_ms.items()]
            parts.append(("publish", (monotonic_us() - batch.inferred_us) / 1000))
            published.append(
                PublishedPrediction(q.partition, p, state, events, self._letters(p, batch.payloads), parts)
            )
        return published

    def _letters(
        self, predicted: WindowPrediction, payloads: Mapping[MemberPosition, Payload]
    ) -> tuple[DeadLetter, ...]:
        """A dead letter for each member that cannot be used: one, though it is in several windows."""
        letters = []
        for modality, member, rejected in predicted.unusable:
            place = position_of(modality, member)
            if place not in self._reported:
                self._reported[place] = None
                payload = payloads.get(place)
                at = RecordPosition(self._topics.media(modality), member.partition, member.offset)
                size = None if payload is None else len(payload.body)
                letters.append(DeadLetter(at, "fusion", rejected, size, member.sha256, ()))
        while len(self._reported) > REPORTED_MAX:
            self._reported.popitem(last=False)
        return tuple(letters)


def _waited(queued: QueuedWindow, picked_ms: float, held_ms: float) -> list[tuple[str, float]]:
    """How long (ms) a window waited for its members, for the broker, and in the queue and for the device."""
    w = queued.window
    return [
        ("align_wait", max(w.closed_us - w.opened_us, 0) / 1000),
        ("transport", max(queued.appended_ms - w.closed_us / 1000, 0.0)),
        ("queue", max(picked_ms - queued.appended_ms, 0.0) + held_ms),
    ]
