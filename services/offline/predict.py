"""Offline predictions and events of one recorded stream, early answers and provisional events included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.contract import envelope
from services.contract.envelope import Envelope
from services.contract.event import Event
from services.contract.window import Window
from services.fusion.decide import Decision
from services.fusion.events import Chains
from services.fusion.infer import Found, Inference
from services.fusion.predicted import Predicted
from services.offline.play import OfflineLog, Out
from services.payloads.redis_window import Payload


@dataclass(frozen=True, slots=True)
class Decided:
    """An event record and the moment (arrival clock, us) at which it was said."""

    at_us: int
    event: Event


def payloads(log: OfflineLog) -> Found:
    """Every payload of an offline log by its place."""
    found: dict[tuple[str, int, int], Payload] = {}
    for modality, records in log.records.items():
        for record in records:
            read = envelope.unwrap(record.headers, record.value)
            if record.key is not None and isinstance(read, Envelope):
                found[modality, 0, record.offset] = Payload(read.get("content-type"), read.payload)
    return found


def predict(inference: Inference, outs: Sequence[Out], found: Found) -> list[Predicted]:
    """The predictions of windows, in their order, in batches of the model's own size."""
    size = inference.model.batch_windows
    out: list[Predicted] = []
    for at in range(0, len(outs), size):
        windows: list[Window] = [o.window for o in outs[at : at + size]]
        out += inference.predict(windows, found)
    return out


def decide(outs: Sequence[Out], predictions: Sequence[Predicted], decision: Decision) -> list[Decided]:
    """The events of one session's predictions as the fusion worker would say them."""
    chains = Chains(decision)
    return [
        Decided(out.at_us, event)
        for out, predicted in zip(outs, predictions, strict=True)
        for event in chains.take(predicted)
    ]
