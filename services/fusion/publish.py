"""Publish events first, then the predictions that carry their state, each to the partition of its window."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from services.contract import canonical, event, trace_context
from services.contract.dead_letter import DeadLetter
from services.contract.event import Event
from services.contract.output_events import FUSION_SOURCE, OutputHeaders
from services.contract.prediction import LATENCY_HEADER, STATE_HEADER, TRACE_HEADER
from services.contract.topics import Topics
from services.fusion.event_detector import DetectorState
from services.fusion.stage_values import WindowPrediction
from services.kafka import clients, dead_letters

_PREDICTION, _EVENT = OutputHeaders("prediction", FUSION_SOURCE), OutputHeaders("event", FUSION_SOURCE)


@dataclass(frozen=True, slots=True)
class PublishedPrediction:
    """A prediction to publish, with the state after it, its events, its dead letters and the parts of its latency."""

    partition: int
    prediction: WindowPrediction
    state: DetectorState | None
    events: tuple[Event, ...]
    dead_letters: tuple[DeadLetter, ...]
    latency_ms: Sequence[tuple[str, float]]


def latency_header(parts: Sequence[tuple[str, float]]) -> bytes:
    """Encode the contiguous parts of a latency and their sum, in milliseconds, as JSON."""
    rounded = [(key, round(ms, 3)) for key, ms in parts]
    total_ms = round(sum([ms for _, ms in rounded]), 3)
    texts = [f'{{"key":{canonical.dumps_text(key)},"ms":{ms!r}}}' for key, ms in rounded]
    return f'{{"parts":[{",".join(texts)}],"total_ms":{total_ms!r}}}'.encode()


class PredictionPublisher:
    """Publishes and waits: when a method returns, the broker has everything. traced: the share of windows with a trace."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics, traced: float) -> None:
        self._producer, self._topics, self._traced = producer, topics, traced

    async def publish(self, predictions: Sequence[PublishedPrediction]) -> None:
        """Publish a batch in order.

        Raises:
            KafkaError: The broker does not acknowledge a record.
        """
        waiting: list[Awaitable[object]] = []
        for one in predictions:
            for e in one.events:
                session = e.session.encode()
                waiting.append(
                    await self._producer.send(
                        self._topics.events,
                        event.encode(e),
                        key=session,
                        partition=one.partition,
                        # An event keeps its id from new to end, and one prediction may be a step of several events.
                        headers=_EVENT.build(f"{e.id}:{e.lifecycle}:{e.prediction}", session, e.start_us),
                    )
                )
            for letter in one.dead_letters:
                waiting.append(self.publish_dead_letter(one.partition, one.prediction.window.session.encode(), letter))
        # Events are acknowledged before the prediction whose state says that they are published.
        await asyncio.gather(*waiting)
        logs: dict[int, list[tuple[bytes, bytes, list[tuple[str, bytes]]]]] = defaultdict(list)
        for one in predictions:
            logs[one.partition].append(self._prediction(one))
        await asyncio.gather(
            *(clients.send_all(self._producer, self._topics.predictions, *log) for log in logs.items())
        )

    async def publish_dead_letter(self, number: int, key: bytes | None, letter: DeadLetter) -> None:
        """Publish one dead letter and wait for it."""
        await dead_letters.publish(self._producer, self._topics.dead, number, key, letter)

    def _prediction(self, one: PublishedPrediction) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        """The record of a prediction: key, value and headers."""
        session = one.prediction.window.session.encode()
        headers = _PREDICTION.build(one.prediction.id, session, one.prediction.window.start_us)
        headers.append((LATENCY_HEADER, latency_header(one.latency_ms)))
        if one.state is not None:
            headers.append((STATE_HEADER, one.state.encode()))
        if trace_context.is_traced(one.prediction.window.id, self._traced):
            headers.append((TRACE_HEADER, trace_context.traceparent(one.prediction.window.id)))
        return session, one.prediction.record, headers
