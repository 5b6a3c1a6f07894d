"""Offline predictions of windows, early answers included."""

from __future__ import annotations

from collections.abc import Sequence

from services.contract import envelope
from services.contract.envelope import Envelope
from services.contract.window import Window
from services.fusion.infer import Found, Inference
from services.fusion.predicted import Predicted
from services.offline.play import OfflineLog, Out
from services.payloads.redis_window import Payload


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
