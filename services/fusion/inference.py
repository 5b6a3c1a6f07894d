"""What was met lately: a set of bounded size that forgets the oldest half at once. Pure.

Inference: decoded members of windows to answers. The only door to torch in the services, through `model`.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.audio_grid import GridSlot, TimedSamples, assign_to_grid, render_segment
from model.decode import RATE, Undecodable
from model.explain import Explanation, explain_window
from model.modality import MODALITIES
from model.predictor import Feature, ServedModel, WindowFeatures
from services.contract import prediction
from services.contract.dead_letter import Reason, Rejected
from services.contract.prediction import MUTED, Answer, Sense
from services.contract.record import MemberPosition
from services.contract.window import Member, Window, position_of
from services.fusion.cache import ByteLimitedCache
from services.fusion.counterfactuals import counterfactuals
from services.fusion.load_shedding import degrade as degraded
from services.fusion.stages import AUDIO, ModelInputs, ModelOutputs, WindowInputs, WindowPrediction
from services.runtime.clock import monotonic_us
from services.storage.payload_cache import Payload


class RecentKeys:
    """Remembers the last `least` keys or more, at most twice as many; by their hash, so that it keeps none of them."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._new: set[int] = set()
        self._old: set[int] = set()

    def add(self, key: Hashable) -> bool:
        """Whether this key was met before; from now on it was."""
        name = hash(key)
        if name in self._new:
            return True
        if len(self._new) >= self._least:
            self._old, self._new = self._new, set()
        self._new.add(name)
        return name in self._old


# What a model may raise on a window; anything else is a mistake of ours and ends the process.
FAILURES = (RuntimeError, ValueError, MemoryError, ArithmeticError, LookupError, TypeError)
Payloads = Mapping[MemberPosition, Payload | Rejected]
Key = tuple[str, int, int, str]
Inputs = dict[tuple[str, Hashable], NDArray[Any] | GridSlot]
_log = logging.getLogger(__name__)


# What a chunk's place in a segment takes in memory, roughly, and the share of the cache that all of them may have.
PLACED_BYTES, PLACED_SHARE = 256, 1 / 32
# Of so many encoded items it is known that they were, so that one that is encoded again is counted.
ENCODED_KEPT = 65_536


def member_key(modality: str, member: Member) -> Key:
    """The cache key of a member: position and bytes. Equal bytes elsewhere may be of another content type."""
    return modality, member.partition, member.offset, member.sha256


class Inference:
    """Decodes and encodes each item once, fuses windows, explains.

    One thread may decode or tell while another infers; neither is for two threads at a time.
    """

    def __init__(self, model: ServedModel, cache_bytes_max: int) -> None:
        self.model = model
        self.features: ByteLimitedCache[Feature] = ByteLimitedCache(cache_bytes_max // 2)
        self._decoded: ByteLimitedCache[Any] = ByteLimitedCache(cache_bytes_max // 2)
        self._segments: ByteLimitedCache[str] = ByteLimitedCache(int(cache_bytes_max * PLACED_SHARE))
        self.encoded = dict.fromkeys(model.modalities, 0)
        self.reencoded = dict.fromkeys(model.modalities, 0)
        self.requested = dict.fromkeys(model.modalities, 0)
        self._encoded_lately = RecentKeys(ENCODED_KEPT)
        self._model_record = {"name": model.name, "version": model.version, "digest": model.digest}
        (self._nothing_seen,) = model.fuse([WindowFeatures()])

    def undecoded(self, modality: str, members: Sequence[Member]) -> Sequence[Member]:
        """The members that were not decoded before, so that their payloads must be fetched."""
        known = self._decoded.get
        return [m for m in members if known(member_key(modality, m)) is None]

    def predict(self, windows: Sequence[Window], found: Payloads, level: int = 0) -> list[WindowPrediction]:
        """The predictions of windows whose payloads were fetched as far as they are there, at a level of overload.

        Raises whatever the model raises; nothing is kept of a failed call but cached items.
        """
        decoded = self.decode(windows, found, level)
        return self.to_predictions(decoded, self.infer(decoded).rows)

    def decode(self, windows: Sequence[Window], found: Payloads, level: int = 0) -> ModelInputs:
        """Windows made ready for the model; one that cannot be decoded is answered by its error."""
        began_us = monotonic_us()
        inputs: Inputs = {}
        usable = []
        for window in windows:
            try:
                usable.append(self._usable(window, found, inputs, level))
            except FAILURES as error:
                usable.append(WindowInputs({}, {}, {}, error=type(error).__name__))
        return ModelInputs(windows, usable, inputs, (monotonic_us() - began_us) / 1000)

    def infer(self, decoded: ModelInputs) -> ModelOutputs:
        """What the device is for. Raises whatever the model raises."""
        began_us = monotonic_us()
        features = self._encode(decoded.per_window, decoded.inputs)
        encoded_us = monotonic_us()
        seen = [u.features(features) for u in decoded.per_window]
        fused = iter(self.model.fuse([w for w in seen if w.present]))
        rows = [next(fused) if w.present else self._nothing_seen for w in seen]
        return ModelOutputs(rows, began_us, monotonic_us(), encoded_us - began_us)

    def infer_isolating_failures(self, decoded: ModelInputs) -> ModelOutputs:
        """The same; where the model fails the windows are split until the culprit is alone, which gets its error."""
        began_us = monotonic_us()
        try:
            return self.infer(decoded)
        except FAILURES as error:
            count = len(decoded.windows)
            if count == 1:
                _log.error("the model failed on a window", extra={"why": type(error).__name__})
                decoded.per_window[0].error = type(error).__name__
                return ModelOutputs([self._nothing_seen], began_us, monotonic_us(), 0)
            parts = [
                self.infer_isolating_failures(decoded.part(*part)) for part in ((0, count // 2), (count // 2, count))
            ]
            rows = [row for part in parts for row in part.rows]
            return ModelOutputs(rows, began_us, monotonic_us(), sum(part.encode_us for part in parts))

    def to_predictions(self, decoded: ModelInputs, rows: Sequence[NDArray[np.float64]]) -> list[WindowPrediction]:
        """The predictions of decoded windows from what was inferred: explained, and as records."""
        return [
            self._predicted(window, u, u.present, r) if u.error is None else self.failed_prediction(window, u.error)
            for window, u, r in zip(decoded.windows, decoded.per_window, rows, strict=True)
        ]

    def failed_prediction(self, window: Window, error: str) -> WindowPrediction:
        """The prediction of a window on which the model fails: no label, and the error."""
        answer = Answer(None, 0.0, 0.0, 0.0, (), 0.0, None, True, error)
        senses = {
            name: Sense(MUTED if name in window.muted else lane.state, lane.evidence, None, 0.0)
            for name, lane in window.modalities.items()
        }
        value = prediction.encode(window, answer, senses, self._model_record)
        id = prediction.prediction_id(window.id, self.model.digest, failed=True, muted=window.muted)
        return WindowPrediction(id, window, value, answer, self._nothing_seen, ())

    def explain(self, rows: NDArray[np.float64], present: frozenset[str]) -> Explanation:
        """Explain a window as if only these modalities had been there."""
        m = self.model
        return explain_window(rows, present, m.modalities, m.labels, m.conflict_from, m.conformal)

    def _usable(self, window: Window, found: Payloads, inputs: Inputs, level: int) -> WindowInputs:
        hop_us = (window.end_us - window.start_us) // self.model.segments_per_window
        left = degraded(window, level, self.model.modalities, lambda: self.model.costliest_modality, hop_us)
        out = WindowInputs({}, {}, {}, left.skipped, left.level)
        stretches: list[TimedSamples] = []
        for modality, members in left.members.items():
            for member in members:
                key = member_key(modality, member)
                value = self._decoded.get(key)
                if value is None:
                    value = self._decode(modality, member, key, found)
                if isinstance(value, Rejected):
                    out.unusable.setdefault(modality, []).append((member, value))
                elif modality == AUDIO:
                    stretches.append(TimedSamples(member.t_us, member.source, member.id, value, key))
                else:
                    out.items.setdefault(modality, []).append(key)
                    inputs[modality, key] = value
        for slot in assign_to_grid(stretches, window.start_us, window.end_us, hop_us, RATE):
            out.segments[(slot.start_us - window.start_us) // hop_us] = self._segment(slot, inputs)
        return out

    def _segment(self, slot: GridSlot, inputs: Inputs) -> str:
        """The key of a slot's sound; the windows that share a slot have it cut and hashed once."""
        known = AUDIO, slot.length, tuple([(at, stretch.key) for at, stretch in slot.placed])
        key = self._segments.get(known)
        if key is not None:
            inputs.setdefault((AUDIO, key), slot)
            return key
        made = render_segment(slot)
        self._segments.put(known, made.key, len(slot.placed) * PLACED_BYTES)
        inputs[AUDIO, made.key] = made.samples
        return made.key

    def _decode(self, modality: str, member: Member, key: Key, found: Payloads) -> Any | Rejected:
        payload = found.get(position_of(modality, member))
        if payload is None:
            return Rejected(Reason.EXPIRED, "gone from Redis and from the log")
        if isinstance(payload, Rejected):
            return payload
        value = MODALITIES[modality].decode(payload.body, payload.content_type)
        if isinstance(value, Undecodable):
            return Rejected(Reason.UNDECODABLE, value.detail)
        if modality != AUDIO:
            value = self.model.prepare(modality, value)
        self._decoded.put(key, value, int(value.nbytes))
        return value

    def _encode(
        self, usable: Sequence[WindowInputs], inputs: Mapping[tuple[str, Hashable], NDArray[Any] | GridSlot]
    ) -> dict[tuple[str, Hashable], Feature]:
        features: dict[tuple[str, Hashable], Feature] = {}
        missing: dict[str, list[Hashable]] = {}
        values: dict[str, list[NDArray[Any]]] = {}
        for modality in self.model.modalities:
            wanted = dict.fromkeys(key for u in usable for key in u.keys(modality))
            cached = {key: self.features.get((modality, key)) for key in wanted}
            features |= {(modality, key): feature for key, feature in cached.items() if feature is not None}
            missing[modality] = [key for key, feature in cached.items() if feature is None]
            values[modality] = [self._input(modality, inputs[modality, key]) for key in missing[modality]]
            self.requested[modality] += len(wanted)
            self.encoded[modality] += len(missing[modality])
            self.reencoded[modality] += sum([self._encoded_lately.add((modality, key)) for key in missing[modality]])
        for modality, encoded in self.model.encode_all(values).items():
            for key, feature in zip(missing[modality], encoded, strict=True):
                features[modality, key] = feature
                self.features.put((modality, key), feature, int(feature.nbytes))
        return features

    def _input(self, modality: str, given: NDArray[Any] | GridSlot) -> NDArray[Any]:
        """What the encoder takes. Sound is made ready only here: most of it was encoded for a window before."""
        value = render_segment(given).samples if isinstance(given, GridSlot) else given
        return self.model.prepare(AUDIO, value) if modality == AUDIO else value

    def _predicted(
        self, window: Window, u: WindowInputs, present: frozenset[str], rows: NDArray[np.float64]
    ) -> WindowPrediction:
        e, model = self.explain(rows, present), self.model
        others = counterfactuals(rows, present, model.modalities, model.labels)
        answer = Answer(
            e.label, e.confidence, e.score, e.baseline, e.top, e.conflict, e.odd, e.abstained, counterfactuals=others
        )
        senses: dict[str, Sense] = {}
        for name, lane in window.modalities.items():
            if name in window.muted:
                senses[name] = Sense(MUTED, lane.evidence, None, 0.0)
                continue
            bad = u.unusable.get(name, ())
            newest = max((m.t_us for m in lane.members if not m.alive), default=None)
            senses[name] = Sense(
                state="skipped" if name in u.skipped else "unusable" if bad and name not in present else lane.state,
                evidence=lane.evidence,
                age_ms=None if newest is None else (window.end_us - newest) // 1000,
                contribution=e.contributions.get(name, 0.0),
                unusable=tuple({"source": m.source, "id": m.id, "reason": r.reason.value} for m, r in bad),
            )
        value = prediction.encode(window, answer, senses, self._model_record, u.level)
        refused = tuple((name, m, r) for name, bad in u.unusable.items() for m, r in bad)
        id = prediction.prediction_id(window.id, model.digest, level=u.level, muted=window.muted)
        return WindowPrediction(
            id, window, value, answer, rows, refused, model.modalities, model.labels, u.level, e.contributions
        )
