"""Serving: every result depends on its own inputs alone, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.audio_segments import TimedSamples, cut_segments
from model.encoders.audio import SEGMENT_SAMPLES
from model.explain import explain_window
from model.predictor import FusionModel, WindowFeatures
from model.streams.network import FEATURES, ITEMS_MAX
from tests.unit.model.untrained import BATCH, model

RATE, HOP_US = 8_000, 500_000


@pytest.fixture(scope="module")
def served() -> FusionModel:
    return model()


def inputs(served: FusionModel, modality: str, count: int, seed: int) -> list[NDArray[Any]]:
    rng = np.random.default_rng(seed)
    if modality == "text":
        words = ["turn", "seven", "dog", "rain", "zebra"]
        return [served.prepare("text", " ".join(rng.choice(words, 5))) for _ in range(count)]
    if modality == "video":
        return [served.prepare("video", rng.integers(0, 256, (48, 80, 3), dtype=np.uint8)) for _ in range(count)]
    return [served.prepare("audio", rng.normal(0, 0.1, SEGMENT_SAMPLES).astype(np.float32)) for _ in range(count)]


def window(seed: int, present: Sequence[str]) -> WindowFeatures:
    rng = np.random.default_rng(seed)

    def features(size: int) -> NDArray[np.float32]:
        return rng.normal(0, 1, size).astype(np.float32)

    audio = {place: features(240) for place in (0, 1, 3)}
    items = {"text": [features(FEATURES) for _ in range(2)], "video": [features(FEATURES) for _ in range(3)]}
    return WindowFeatures(
        {name: window_items for name, window_items in ({"audio": audio} | items).items() if name in present}
    )


@pytest.mark.parametrize("modality", ["text", "video", "audio"])
def test_a_feature_is_byte_identical_in_any_batch(served: FusionModel, modality: str) -> None:
    items = inputs(served, modality, 2 * BATCH + 3, seed=1)
    together = served.encode(modality, items)
    for item, feature in zip(items, together, strict=True):
        (alone,) = served.encode(modality, [item])
        assert alone.tobytes() == feature.tobytes()
    backwards = served.encode(modality, items[::-1])
    assert [f.tobytes() for f in backwards[::-1]] == [f.tobytes() for f in together]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sets(st.sampled_from(["text", "video", "audio"])), min_size=1, max_size=2 * BATCH + 1))
def test_a_window_prediction_is_byte_identical_in_any_batch(present: list[set[str]]) -> None:
    served = model()
    windows = [window(seed, sorted(modalities)) for seed, modalities in enumerate(present)]
    together = served.fuse(windows)
    alone = [served.fuse([w])[0] for w in windows]
    assert [rows.tobytes() for rows in alone] == [rows.tobytes() for rows in together]


@pytest.mark.parametrize("present", [(), ("text",), ("video", "audio"), ("text", "video", "audio")])
def test_absent_modalities_of_a_subset_are_ignored(served: FusionModel, present: tuple[str, ...]) -> None:
    (rows,) = served.fuse([window(5, present)])
    mask = sum(1 << i for i, m in enumerate(served.modalities) if m in present)
    assert rows.shape == (8, len(served.labels))
    assert np.exp(rows).sum(1) == pytest.approx(np.ones(8), abs=1e-5)
    for index in range(8):
        assert rows[index].tobytes() == rows[index & mask].tobytes()


def test_the_row_of_no_modality_is_the_same_for_every_window(served: FusionModel) -> None:
    full, empty = served.fuse([window(1, ("text", "video", "audio")), WindowFeatures()])
    assert full[0].tobytes() == empty[0].tobytes()
    assert not np.allclose(full[0], full[7])


def test_the_newest_of_too_many_items_are_used(served: FusionModel) -> None:
    rng = np.random.default_rng(2)
    texts = [rng.normal(0, 1, FEATURES).astype(np.float32) for _ in range(ITEMS_MAX["text"] + 2)]
    (many,) = served.fuse([WindowFeatures({"text": texts})])
    (newest,) = served.fuse([WindowFeatures({"text": texts[-ITEMS_MAX["text"] :]})])
    assert many.tobytes() == newest.tobytes()


def test_silence_between_sounds_differs_from_a_gap(served: FusionModel) -> None:
    sound, silent = served.encode("audio", [*inputs(served, "audio", 1, 4), np.zeros(SEGMENT_SAMPLES, np.float32)])
    (with_silence,) = served.fuse([WindowFeatures({"audio": {0: sound, 1: silent}})])
    (with_gap,) = served.fuse([WindowFeatures({"audio": {0: sound}})])
    assert not np.allclose(with_silence[7], with_gap[7])


@pytest.mark.parametrize("text", ["", " ", "...", "😀", "привет", "你好", "zxqv wqpl"])
def test_a_text_without_a_known_word_shows_nothing(served: FusionModel, text: str) -> None:
    assert_shows_nothing(served, "text", text)


@pytest.mark.parametrize("colour", [0, 127, 255])
def test_a_frame_of_one_colour_shows_nothing(served: FusionModel, colour: int) -> None:
    assert_shows_nothing(served, "video", np.full((48, 64, 3), colour, np.uint8))


def test_silence_alone_shows_nothing(served: FusionModel) -> None:
    assert_shows_nothing(served, "audio", np.zeros(SEGMENT_SAMPLES, np.float32))


def assert_shows_nothing(served: FusionModel, modality: str, value: Any) -> None:
    """Check that the rows are the prior's, that the model abstains, and that another modality is used as if alone."""
    (feature,) = served.encode(modality, [served.prepare(modality, value)])
    other = "video" if modality == "text" else "text"
    (others,) = served.encode(other, inputs(served, other, 1, 8))
    alone, beside, without = served.fuse(
        [WindowFeatures(w) for w in ({modality: [feature]}, {modality: [feature], other: [others]}, {other: [others]})]
    )
    assert np.array_equal(alone, np.broadcast_to(alone[0], alone.shape))
    assert np.array_equal(beside, without)
    said = explain_window(alone, frozenset([modality]), served.modalities, served.labels, 0.5, served.conformal)
    assert said.abstained
    assert set(said.contributions.values()) == {0.0}
    both = explain_window(beside, frozenset([modality, other]), served.modalities, served.labels, 0.5, served.conformal)
    assert both.conflict == 0.0


def test_inputs_of_any_size_are_prepared_to_one_shape(served: FusionModel) -> None:
    shapes = {served.prepare("video", np.zeros((h, w, 3), np.uint8)).shape for h, w in ((1, 1), (64, 64), (300, 17))}
    assert shapes == {(3, 64, 64)}
    lengths = {served.prepare("text", "turn on the kettle " * n).shape for n in (0, 1, 200)}
    assert len(lengths) == 1
    assert {served.prepare("audio", np.ones(n, np.float32)).shape for n in (1, 4_000, 9_000)} == {(SEGMENT_SAMPLES,)}


def test_a_text_without_known_words_is_predicted(served: FusionModel) -> None:
    features = served.encode("text", [served.prepare("text", text) for text in ("", "zzz qqq", "\N{SNOWMAN}")])
    for rows in served.fuse([WindowFeatures({"text": [f]}) for f in features]):
        assert np.isfinite(rows).all()


def rows_of(served: FusionModel, stretches: Sequence[TimedSamples]) -> NDArray[np.float64]:
    segments = cut_segments(stretches, 0, 4 * HOP_US, HOP_US, RATE)
    features = served.encode("audio", [served.prepare("audio", s.samples) for s in segments])
    audio = {s.start_us // HOP_US: feature for s, feature in zip(segments, features, strict=True)}
    (rows,) = served.fuse([WindowFeatures({"audio": audio})])
    return rows


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 15_999), max_size=9, unique=True), st.randoms(use_true_random=False))
def test_any_chunking_of_audio_gives_the_same_prediction(cuts: list[int], random: Any) -> None:
    served = model()
    audio = np.random.default_rng(4).normal(0, 0.1, 16_000).astype(np.float32)
    edges = [0, *sorted(cuts), len(audio)]
    pieces = [TimedSamples(begin * 125, "mic", str(begin), audio[begin:end]) for begin, end in pairwise(edges)]
    random.shuffle(pieces)
    full = rows_of(served, [TimedSamples(0, "mic", "0", audio)])
    assert rows_of(served, pieces).tobytes() == full.tobytes()
