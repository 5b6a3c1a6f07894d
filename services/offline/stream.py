"""One recorded stream, offline: its windows, predictions and events, as the services would make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.aligner.patience import Patience
from services.audit.score import Said
from services.contract.semantics import Semantics
from services.fusion.decide import Decision
from services.fusion.infer import Inference
from services.fusion.predicted import Predicted
from services.offline.play import OfflineLog, Out
from services.offline.predict import decide, payloads, predict
from services.player.recording import Recording

ORIGIN_US = 1_700_000_000_000_000
# Texts of the recorded streams come up to 6.5 s late.
PATIENCE = Patience({"text": 6_500_000, "video": 1_000_000, "audio": 700_000}, 3_000_000, 300_000)


@dataclass(frozen=True, slots=True)
class Offline:
    """Windows in the order in which they came out, and the prediction of each."""

    outs: Sequence[Out]
    predictions: Sequence[Predicted]


def run(recording: Recording, inference: Inference, from_s: float, to_s: float) -> Offline:
    """Play a part of a recording in virtual time."""
    log = OfflineLog(Semantics(), PATIENCE)
    sendings = list(recording.sendings(recording.name, ORIGIN_US, round(from_s * 1e6), round(to_s * 1e6)))
    outs = list(log.play(recording.name, sendings, ORIGIN_US))
    return Offline(outs, predict(inference, outs, payloads(log)))


def said(offline: Offline, decision: Decision) -> list[Said]:
    """The final events as they stood at the end; `decided_s` is the first record, provisional or not, of that label."""
    first: dict[tuple[str, str], int] = {}
    last: dict[str, Said] = {}
    for decided in decide(offline.outs, offline.predictions, decision):
        e = decided.event
        at_us = first.setdefault((e.id, e.label), decided.at_us)
        if e.final and e.lifecycle != "end":
            last[e.id] = Said((e.start_us - ORIGIN_US) / 1e6, e.kind, e.label, (at_us - ORIGIN_US) / 1e6)
    return list(last.values())
