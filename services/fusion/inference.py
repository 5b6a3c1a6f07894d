"""Inference: members of windows to predictions, with caches.

The only file of the services that runs the model.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.audio_segments import GridSlot, TimedSamples, assign_to_grid, render_segment
from model.decode import RATE, WINDOW_COST_MAX, TooCostly, Undecodable, decoding_cost
from model.explain import Explanation, explain_window
from model.predictor import Feature, ServedModel, WindowFeatures
from services.contract.dead_letter import Reason, Rejected
from services.contract.kafka_record import MemberPosition
from services.contract.transcript import has_content
from services.contract.window import Member, Window, position_of
from services.fusion.load_shedding import degrade
from services.fusion.prediction_builder import PredictionBuilder
from services.fusion.stage_values import (
    AUDIO,
    FAILURES,
    TEXT,
    ModelInputs,
    ModelOutputs,
    WindowInputs,
    WindowPrediction,
)
from services.runtime.monotonic_clock import monotonic_us
from services.storage.byte_limited_cache import ByteLimitedCache
from services.storage.payload_cache import Payload


class RecentKeys:
    """The hashes of at least the last `least` keys, at most of twice as many; the older half is dropped at once."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._new: set[int] = set()
        self._old: set[int] = set()

    def add(self, key: Hashable) -> bool:
        """Remember a key; return whether it was known."""
        digest = hash(key)
        if digest in self._new:
            return True
        if len(self._new) >= self._least:
            self._old, self._new = self._new, set()
        self._new.add(digest)
        return digest in self._old


Payloads = Mapping[MemberPosition, Payload | Rejected]
Key = tuple[str, int, int, str]
Values = dict[tuple[str, Hashable], NDArray[Any] | GridSlot]
_log = logging.getLogger(__name__)

# The memory of a chunk's place in a segment, roughly, and the share of the cache for all of them.
PLACED_BYTES, PLACED_SHARE = 256, 1 / 32
# The memory of a member that cannot be used, or says nothing, roughly.
UNUSED_BYTES = 512
# How many encoded items are remembered, to count those that are encoded again.
RECENT_ITEMS = 65_536


class _Silence:
    """The value of a text that says nothing: evidence that nobody speaks, and no input."""


SILENCE: Final = _Silence()
_WINDOW_TOO_COSTLY = Rejected(Reason.TOO_COSTLY, "newer members have used up what decoding a window may cost")


class DecodedMember(NamedTuple):
    """What became of a payload (an encoder's input, audio, SILENCE or a rejection) and what decoding it cost."""

    value: Any
    cost: int


def member_key(modality: str, member: Member) -> Key:
    """Return the cache key of a member: position and bytes, for equal bytes elsewhere may be of another content type."""
    return modality, member.partition, member.offset, member.sha256


class Inference:
    """Decodes and encodes each item once, fuses windows, and explains predictions.

    One thread may decode or build predictions while another one infers; neither may run in two threads at a time.

    Attributes:
        features: The encoded items.
        requested: By modality, how many items windows needed.
        encoded: By modality, how many of these were encoded.
        reencoded: By modality, how many of these had been encoded before.
    """

    def __init__(self, model: ServedModel, cache_bytes_max: int) -> None:
        self.model = model
        self.features: ByteLimitedCache[Feature] = ByteLimitedCache(cache_bytes_max // 2)
        self._decoded: ByteLimitedCache[DecodedMember] = ByteLimitedCache(cache_bytes_max // 2)
        self._segments: ByteLimitedCache[str] = ByteLimitedCache(int(cache_bytes_max * PLACED_SHARE))
        self.encoded = dict.fromkeys(model.modalities, 0)
        self.reencoded = dict.fromkeys(model.modalities, 0)
        self.requested = dict.fromkeys(model.modalities, 0)
        self._recently_encoded = RecentKeys(RECENT_ITEMS)
        (self._rows_of_nothing,) = model.fuse([WindowFeatures()])
        shape = 1 << len(model.modalities), len(model.labels)
        if self._rows_of_nothing.shape != shape or np.isnan(self._rows_of_nothing).any():
            raise ValueError(f"the model does not give {shape[0]} x {shape[1]} log probabilities")
        self._builder = PredictionBuilder(model, self._rows_of_nothing)

    def undecoded(self, modality: str, members: Sequence[Member]) -> Sequence[Member]:
        """Return the members that are not decoded yet, whose payloads must be fetched."""
        decoded = self._decoded.get_many([member_key(modality, m) for m in members])
        return [m for m, known in zip(members, decoded, strict=True) if known is None]

    def decode_ahead(self, modality: str, member: Member, payload: Payload) -> None:
        """Decode a member before a window that has it is decoded; any thread may do it."""
        key = member_key(modality, member)
        if self._decoded.get(key) is None:
            self._decode(modality, member, key, {position_of(modality, member): payload})

    def predict(self, windows: Sequence[Window], payloads: Payloads, level: int = 0) -> list[WindowPrediction]:
        """Predict windows in batches of the model's own size.

        Args:
            windows: The windows.
            payloads: The payloads of their members, as far as they are there.
            level: The level of overload.
        """
        size = self.model.batch_windows
        predictions: list[WindowPrediction] = []
        for begin in range(0, len(windows), size):
            inputs = self.decode(windows[begin : begin + size], payloads, level)
            predictions += self.to_predictions(inputs, self.infer(inputs).rows)
        return predictions

    def decode(self, windows: Sequence[Window], payloads: Payloads, level: int = 0) -> ModelInputs:
        """Decode windows; one that cannot be decoded gets an error instead of inputs."""
        began_us = monotonic_us()
        values: Values = {}
        per_window = []
        at_us = began_us
        for window in windows:
            try:
                inputs = self._window_inputs(window, payloads, values, level)
            except FAILURES as error:
                inputs = WindowInputs({}, {}, {}, error=type(error).__name__)
            per_window.append(inputs)
            now_us = monotonic_us()
            inputs.took_us, at_us = now_us - at_us, now_us
        return ModelInputs(windows, per_window, values, (monotonic_us() - began_us) / 1000)

    def infer(self, inputs: ModelInputs) -> ModelOutputs:
        """Encode and fuse. If the model fails, split the windows until the culprit is alone, which gets the error."""
        began_us = monotonic_us()
        try:
            features = self._encode(inputs.per_window, inputs.values)
            encoded_us = monotonic_us()
            seen = [u.features(features) for u in inputs.per_window]
            fused = iter(self.model.fuse([w for w in seen if w.present]))
            rows = [next(fused) if w.present else self._rows_of_nothing for w in seen]
            return ModelOutputs(rows, began_us, monotonic_us(), encoded_us - began_us)
        except FAILURES as error:
            count = len(inputs.windows)
            if count == 1:
                _log.error("the model failed on a window", extra={"why": type(error).__name__})
                inputs.per_window[0].error = type(error).__name__
                return ModelOutputs([self._rows_of_nothing], began_us, monotonic_us(), 0)
            parts = [self.infer(inputs.part(*part)) for part in ((0, count // 2), (count // 2, count))]
            rows = [row for part in parts for row in part.rows]
            return ModelOutputs(rows, began_us, monotonic_us(), sum(part.encode_us for part in parts))

    def to_predictions(self, inputs: ModelInputs, rows: Sequence[NDArray[np.float64]]) -> list[WindowPrediction]:
        """Explain decoded windows from what was inferred of each, and encode their records."""
        return self._builder.build(inputs, rows)

    def explain(self, rows: NDArray[np.float64], present: frozenset[str]) -> Explanation:
        """Explain a window as if only these modalities had been present."""
        m = self.model
        return explain_window(rows, present, m.modalities, m.labels, m.conflict_from, m.conformal)

    def _window_inputs(self, window: Window, payloads: Payloads, values: Values, level: int) -> WindowInputs:
        hop_us = (window.end_us - window.start_us) // self.model.segments_per_window
        used = degrade(window, level, self.model.modalities, lambda: self.model.costliest_modality, hop_us)
        out = WindowInputs({}, {}, {}, used.skipped, used.level)
        stretches: list[TimedSamples] = []
        for modality, members in used.members.items():
            for member, key, value in self._decoded_members(modality, members, payloads):
                if isinstance(value, Rejected):
                    out.unusable.setdefault(modality, []).append((member, value))
                elif value is SILENCE:
                    out.silent.add(modality)
                elif modality == AUDIO:
                    stretches.append(TimedSamples(member.t_us, member.source, member.id, value, key))
                else:
                    out.items.setdefault(modality, []).append(key)
                    values[modality, key] = value
        for slot in assign_to_grid(stretches, window.start_us, window.end_us, hop_us, RATE):
            out.segments[(slot.start_us - window.start_us) // hop_us] = self._segment(slot, values)
        return out

    def _segment(self, slot: GridSlot, values: Values) -> str:
        """The key of a slot's audio, which is cut and hashed once for all windows that share the slot."""
        placed = AUDIO, slot.length, tuple([(at, stretch.key) for at, stretch in slot.placed])
        key = self._segments.get(placed)
        if key is not None:
            values.setdefault((AUDIO, key), slot)
            return key
        cut = render_segment(slot)
        self._segments.put(placed, cut.key, len(slot.placed) * PLACED_BYTES)
        values[AUDIO, cut.key] = cut.samples
        return cut.key

    def _decoded_members(
        self, modality: str, members: Sequence[Member], payloads: Payloads
    ) -> list[tuple[Member, Key, Any | Rejected]]:
        """Decode the members of a window; the newest, which a model with few places uses, come first in its budget."""
        keys = [member_key(modality, m) for m in members]
        known = self._decoded.get_many(keys)
        if all(known) and sum([one.cost for one in known if one]) <= WINDOW_COST_MAX:
            return [(member, key, one.value) for member, key, one in zip(members, keys, known, strict=True) if one]
        decoded: list[tuple[Member, Key, Any | Rejected]] = []
        cost = 0
        for member, key in zip(reversed(members), reversed(keys), strict=True):
            if cost > WINDOW_COST_MAX:
                decoded.append((member, key, _WINDOW_TOO_COSTLY))
                continue
            one = self._decoded.get(key) or self._decode(modality, member, key, payloads)
            cost += one.cost
            decoded.append((member, key, one.value))
        decoded.reverse()
        return decoded

    def _decode(self, modality: str, member: Member, key: Key, payloads: Payloads) -> DecodedMember:
        payload = payloads.get(position_of(modality, member))
        if payload is None:
            return DecodedMember(Rejected(Reason.EXPIRED, "gone from Redis and from the log"), 0)
        if isinstance(payload, Rejected):
            return DecodedMember(payload, 0)
        value, size = self.model.decode(modality, payload.body, payload.content_type), UNUSED_BYTES
        cost = decoding_cost(modality, payload.body, value)
        if isinstance(value, Undecodable):
            # Remembered too: each window of the member would decode it again.
            value = Rejected(Reason.TOO_COSTLY if isinstance(value, TooCostly) else Reason.UNDECODABLE, value.detail)
        elif modality == TEXT and not has_content(value):
            value = SILENCE
        else:
            value = value if modality == AUDIO else self.model.prepare(modality, value)
            size = int(value.nbytes)
        decoded = DecodedMember(value, cost)
        self._decoded.put(key, decoded, size)
        return decoded

    def _encode(
        self, per_window: Sequence[WindowInputs], inputs: Mapping[tuple[str, Hashable], NDArray[Any] | GridSlot]
    ) -> dict[tuple[str, Hashable], Feature]:
        features: dict[tuple[str, Hashable], Feature] = {}
        missing: dict[str, list[Hashable]] = {}
        values: dict[str, list[NDArray[Any]]] = {}
        for modality in self.model.modalities:
            keys = dict.fromkeys(key for u in per_window for key in u.keys(modality))
            cached = {key: self.features.get((modality, key)) for key in keys}
            features |= {(modality, key): feature for key, feature in cached.items() if feature is not None}
            missing[modality] = [key for key, feature in cached.items() if feature is None]
            values[modality] = [self._input(modality, inputs[modality, key]) for key in missing[modality]]
            self.requested[modality] += len(keys)
            self.encoded[modality] += len(missing[modality])
            self.reencoded[modality] += sum([self._recently_encoded.add((modality, key)) for key in missing[modality]])
        for modality, encoded in self.model.encode_all(values).items():
            for key, feature in zip(missing[modality], encoded, strict=True):
                features[modality, key] = feature
                self.features.put((modality, key), feature, int(feature.nbytes))
        return features

    def _input(self, modality: str, value: NDArray[Any] | GridSlot) -> NDArray[Any]:
        """What the encoder takes. Audio is prepared only here, because most of it was encoded for an earlier window."""
        value = render_segment(value).samples if isinstance(value, GridSlot) else value
        return self.model.prepare(AUDIO, value) if modality == AUDIO else value
