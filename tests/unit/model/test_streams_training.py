"""Training of the streams model is deterministic, with prefetching in another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model.data.training_batches import (
    MISCOUNTED,
    PHOTOS,
    SENTENCES,
    STRANGE,
    TITLES,
    Curriculum,
    SingleModalityBatch,
    prefetch,
)
from model.encoders.text import Vocabulary, read_word_vectors
from model.labels import DIGITS, LABELS, NOTHING, SOUNDS
from model.streams.train import StreamsRecipe, train
from services.runtime.settings import ROOT

DATA = ROOT / "data"
SHORT = StreamsRecipe(seed=3, single_steps=2, sounds_per_step=6, steps=2, scenes_per_step=1)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def lesson() -> SingleModalityBatch:
    words, _ = read_word_vectors(DATA / "assistvec" / "vectors.npz")
    return Curriculum(DATA, Vocabulary(words), 3).alone(8)


def test_prefetched_items_come_in_order_and_no_more_than_requested() -> None:
    numbers = iter(range(10))
    threads = set()

    def make() -> int:
        threads.add(threading.get_ident())
        return next(numbers)

    assert list(prefetch(make, 4, 1)) == [0, 1, 2, 3]
    assert next(numbers) == 4
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_single_modality_batch_has_digits_titles_and_nothing(lesson: SingleModalityBatch) -> None:
    text_labels = [LABELS[index] for index in lesson.word_labels]
    assert len(lesson.words) == len(text_labels) == SENTENCES + TITLES + MISCOUNTED + STRANGE
    assert set(text_labels[:SENTENCES]) <= set(DIGITS)
    assert set(text_labels[SENTENCES : SENTENCES + TITLES]) <= set(SOUNDS)
    assert set(text_labels[SENTENCES + TITLES :]) == {NOTHING}
    assert len(lesson.pictures) == len(lesson.picture_labels) == PHOTOS + STRANGE
    assert len(lesson.spectra_labels) == 8
    assert np.isfinite(lesson.spectra.numpy()).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    def weights(recipe: StreamsRecipe) -> bytes:
        state = train(DATA, recipe, lambda step, losses: None).network.state_dict()
        return b"".join(tensor.numpy().tobytes() for tensor in state.values())

    first = weights(SHORT)
    assert weights(SHORT) == first
    assert weights(StreamsRecipe(seed=4, single_steps=2, sounds_per_step=6, steps=2, scenes_per_step=1)) != first
