"""Generated items without label."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.out_of_distribution import OutOfDistribution
from model.data.splits import DigitSample

TEXTS = ["Book a table for four in Ohio", "rate this chronicle 3 out of 6 stars", "play the seventh dog song of winter"]


@pytest.fixture
def outside() -> OutOfDistribution:
    rng = np.random.default_rng(1)
    hand = rng.integers(0, 255, (64, 64, 3), np.uint8)
    items = [
        DigitSample(str(n), rng.normal(0, 900, 3_000).astype(np.float32), hand, text) for n, text in enumerate(TEXTS)
    ]
    return OutOfDistribution(items, np.random.default_rng(2))


def test_sentences_have_no_number_left(outside: OutOfDistribution) -> None:
    sentences = {outside.sentence() for _ in range(200)}
    assert "Book a table for in Ohio" in sentences
    words = {word.lower() for text in sentences for word in text.split()}
    assert not words & {"four", "3", "6", "seventh"}


def test_images_have_one_size_and_never_equal_a_photo(outside: OutOfDistribution) -> None:
    photo = outside._digits[0].hand
    for picture in (outside.picture() for _ in range(40)):
        assert picture.shape == (64, 64, 3)
        assert picture.dtype == np.uint8
        assert (picture != photo).any()


def test_sounds_and_voices_have_the_level_and_length_of_recorded_ones(outside: OutOfDistribution) -> None:
    for sound in (outside.sound() for _ in range(40)):
        assert 8_000 <= len(sound) <= 32_000
        assert 300 < np.sqrt(np.mean(sound**2)) < 3_500
        assert np.abs(sound).max() <= 32_768
    for voice in (outside.speech() for _ in range(40)):
        assert 0.2 * 8_000 < len(voice) < 1.2 * 8_000
