"""Stages that work side by side: while one batch is at the device the next is made ready and the last one is published.

Answering: batches of windows to acknowledged predictions, in stages that work side by side.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract.dead_letter import DeadLetter
from services.contract.record import MemberPosition, RecordPosition
from services.contract.topics import Topics
from services.contract.window import position_of
from services.fusion.batching import QueuedWindow, ReleasedBatch
from services.fusion.event_tracker import EventTracker, is_foldable
from services.fusion.fetch import PayloadFetcher
from services.fusion.inference import Inference
from services.fusion.metrics import FusionObserver
from services.fusion.publish import PredictionPublisher, PublishedPrediction
from services.fusion.stages import ModelInputs, ModelOutputs, WindowPrediction
from services.kafka.control_topic import ControlTopic
from services.runtime.clock import monotonic_us
from services.storage.payload_cache import Payload, PayloadCache


class StagePipeline:
    """Each stage has one batch at a time, and batches pass all stages in the order in which they came.

    It lives as long as its owner wants: batches are put in, and may be waited for, at any time. After the first failure of
    a stage no batch goes on to another one, and `ready` and `drained` raise it. stages: each takes what the one before it
    returned.
    """

    def __init__(self, *stages: Callable[[Any], Awaitable[Any]]) -> None:
        self._stages = stages
        self._free = [asyncio.Lock() for _ in stages]
        self._tasks: dict[asyncio.Task[None], Any] = {}
        self._failure: BaseException | None = None
        self._held = False

    @property
    def in_flight(self) -> Sequence[Any]:
        """What was put and is not through, oldest first."""
        return tuple(self._tasks.values())

    async def wait_ready(self) -> None:
        """Wait until the first stage is free; who waits then puts a batch, now or later."""
        if not self._held:
            await self._free[0].acquire()
            self._held = True
        self._tell()

    def put(self, batch: Any) -> None:
        """Hand a batch to the first stage, after `ready`."""
        self._held = False
        task = asyncio.get_running_loop().create_task(self._through(batch))
        self._tasks[task] = batch
        task.add_done_callback(self._tasks.pop)

    async def drain(self) -> None:
        """Wait until every batch is through."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._tell()

    async def stop(self) -> None:
        """End what is on its way, wherever it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tell(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _through(self, batch: Any) -> None:
        held = self._free[0]
        try:
            for stage, free in zip(self._stages, self._free, strict=True):
                if free is not held:
                    # Locks are fair, and this one is asked for before the one behind is given back: none overtakes.
                    await free.acquire()
                    held.release()
                    held = free
                if self._failure is not None:
                    return
                batch = await stage(batch)
        except BaseException as error:
            # A batch that was cancelled alone is as lost as one that failed: none behind it may count as done.
            self._failure = self._failure or error
            if not isinstance(error, Exception):
                raise
        finally:
            held.release()


REPORTED_MAX = 10_000


@dataclass(slots=True)
class PipelineBatch:
    """A released batch as it passes the stages."""

    released: ReleasedBatch
    picked_ms: float
    began_us: int
    found: Mapping[MemberPosition, Payload] = field(default_factory=dict)
    decoded: ModelInputs | None = None
    inferred: asyncio.Future[ModelOutputs] | None = None
    rows: Sequence[NDArray[np.float64]] = ()
    held_ms: float = 0.0
    inferred_us: int = 0
    said: Sequence[PublishedPrediction] = ()
    spent_ms: dict[str, float] = field(default_factory=dict)


class PredictionPipeline:
    """Fetches, decodes, infers, folds and publishes, each stage a batch at a time and all in order.

    threads: one to decode and to explain, one for the device alone, which has no other work to wait for; the loop goes on
    meanwhile. done: told of each batch once the broker has all of it, with how long the model had it (us).
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
        done: Callable[[ReleasedBatch, float], None],
    ) -> None:
        self._topics, self._fetcher, self._publisher = topics, fetcher, publisher
        self._payloads, self._controls, self._observer, self._done = payloads, controls, observer, done
        self._decoding, self._inferring = threads
        self._reported: OrderedDict[MemberPosition, None] = OrderedDict()

    def build(self, inference: Inference, chains: EventTracker) -> StagePipeline:
        """A pipeline that answers by this model and folds into these chains."""
        loop = asyncio.get_running_loop()

        async def ready(released: ReleasedBatch) -> PipelineBatch:
            batch = PipelineBatch(released, time.time() * 1000, monotonic_us())
            self._controls.raise_if_failed()
            windows = [self._controls.with_mutes(q.window) for q in released.windows]
            if windows:
                batch.found = await self._fetcher.fetch(windows)
                batch.spent_ms = {"fetch": (monotonic_us() - batch.began_us) / 1000}
                batch.decoded = await loop.run_in_executor(
                    self._decoding, inference.decode, windows, batch.found, released.level
                )
                # It stands behind its predecessor at the device: between the two there is no wait for this loop.
                batch.inferred = loop.run_in_executor(self._inferring, inference.infer, batch.decoded)
            return batch

        async def infer(batch: PipelineBatch) -> PipelineBatch:
            if batch.inferred is not None and batch.decoded is not None:
                found = await batch.inferred
                batch.rows, batch.inferred_us = found.rows, found.ended_us
                batch.spent_ms |= {
                    "decode": batch.decoded.took_ms,
                    "encode": found.encode_us / 1000,
                    "fuse": found.fuse_us / 1000,
                }
                # A batch waits for the device where its predecessor takes longer than fetching and decoding do.
                held_ms = (found.began_us - batch.began_us) / 1000 - batch.spent_ms["fetch"] - batch.spent_ms["decode"]
                batch.held_ms = max(held_ms, 0.0)
            return batch

        async def tell(batch: PipelineBatch) -> PipelineBatch:
            if batch.decoded is not None:
                decoded = batch.decoded
                windows = [self._controls.with_mutes(window) for window in decoded.windows]
                if windows != list(decoded.windows):
                    # Said while the model thought: what it made of it is not used.
                    batch.found = await self._fetcher.fetch(windows)
                    decoded = await loop.run_in_executor(
                        self._decoding, inference.decode, windows, batch.found, batch.released.level
                    )
                    batch.rows = (await loop.run_in_executor(self._inferring, inference.infer, decoded)).rows
                predicted = await loop.run_in_executor(self._decoding, inference.to_predictions, decoded, batch.rows)
                batch.said = self._said(batch, predicted, chains)
            return batch

        async def publish(batch: PipelineBatch) -> None:
            if batch.said:
                await self._publisher.publish(batch.said)
                now_us = monotonic_us()
                missed = sum(now_us > q.due_us for q in batch.released.windows)
                self._observer.batch(
                    batch.said, batch.released, missed, inference, self._fetcher, self._payloads.errors, batch.spent_ms
                )
            self._observer.passed(batch.released)
            spent = batch.spent_ms
            self._done(batch.released, 1000 * (spent["encode"] + spent["fuse"]) if batch.said else 0.0)

        return StagePipeline(ready, infer, tell, publish)

    def _said(
        self, batch: PipelineBatch, predicted: Sequence[WindowPrediction], chains: EventTracker
    ) -> Sequence[PublishedPrediction]:
        said = []
        for q, p in zip(batch.released.windows, predicted, strict=True):
            events = chains.update(p)
            state = chains.states.get(q.window.session) if q.window.final and is_foldable(p) else None
            parts = [*_waited(q, batch.picked_ms, batch.held_ms), *batch.spent_ms.items()]
            parts.append(("publish", (monotonic_us() - batch.inferred_us) / 1000))
            said.append(PublishedPrediction(q.partition, p, state, events, self._letters(p, batch.found), parts))
        return said

    def _letters(self, predicted: WindowPrediction, found: Mapping[MemberPosition, Payload]) -> tuple[DeadLetter, ...]:
        """A dead letter for each member that cannot be used, once, though it stands in several windows."""
        letters = []
        for modality, member, rejected in predicted.unusable:
            place = position_of(modality, member)
            if place not in self._reported:
                self._reported[place] = None
                payload = found.get(place)
                at = RecordPosition(self._topics.media(modality), member.partition, member.offset)
                size = None if payload is None else len(payload.body)
                letters.append(DeadLetter(at, "fusion", rejected, size, member.sha256, ()))
        while len(self._reported) > REPORTED_MAX:
            self._reported.popitem(last=False)
        return tuple(letters)


def _waited(queued: QueuedWindow, picked_ms: float, held_ms: float) -> list[tuple[str, float]]:
    """How long a window waited for its members, for the broker, and for us: taken up, then held for the device (ms)."""
    w = queued.window
    return [
        ("align_wait", max(w.closed_us - w.opened_us, 0) / 1000),
        ("transport", max(queued.appended_ms - w.closed_us / 1000, 0.0)),
        ("queue", max(picked_ms - queued.appended_ms, 0.0) + held_ms),
    ]
