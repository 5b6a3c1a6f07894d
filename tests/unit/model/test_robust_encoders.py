"""Robust encoders: swapped letters, lighting and missing segments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.encoders.audio import RobustAudioEncoder, RobustAudioReader
from model.encoders.image import prepare_robust_image
from model.encoders.text import PAD, UNKNOWN, Lexicon

LEXICON = Lexicon(["seven", "even", "dog", "bark", "at", "a"])


def rows_of_text(text: str) -> list[int]:
    return [int(row) for row in LEXICON.prepare(text) if row != PAD]


def test_a_word_with_swapped_letters_is_read_as_the_word() -> None:
    assert rows_of_text("sevne") == rows_of_text("seven")
    assert rows_of_text("Seven, DOG!") == [2, 4]


def test_compounds_are_read_as_their_parts_and_nonsense_is_unknown() -> None:
    assert rows_of_text("dogbark") == rows_of_text("dog bark")
    assert rows_of_text("dogs") == rows_of_text("dog")
    assert rows_of_text("xyz ta") == [UNKNOWN, UNKNOWN]


def test_a_known_word_inside_an_unknown_one_is_not_read() -> None:
    assert rows_of_text("eleven kaseven sevenkamo") == [UNKNOWN, UNKNOWN, UNKNOWN]


def test_image_preparation_removes_lighting_and_marks_covered_pixels() -> None:
    pixels = np.random.default_rng(1).integers(80, 250, (64, 64, 3)).astype(np.float32)
    pixels[10:40, 10:40] = 0
    bright = prepare_robust_image(pixels.astype(np.uint8))
    dark = prepare_robust_image((pixels / 2).astype(np.uint8))
    assert bright.shape == (4, 64, 64)
    assert np.abs(bright - dark).mean() < 0.02
    assert (bright[3, 10:40, 10:40] == 0).all()
    assert bright[3].mean() == pytest.approx(1 - 900 / 4096)
    assert not prepare_robust_image(np.zeros((64, 64, 3), np.uint8)).any()


@torch.no_grad()
def test_features_of_a_missing_segment_are_ignored() -> None:
    torch.manual_seed(1)
    reader = RobustAudioReader(16).eval()
    segments, present = torch.randn(2, 4, 240), torch.tensor([[True, True, False, True]]).expand(2, 4)
    other = segments.clone()
    other[:, 2] = 9
    torch.testing.assert_close(reader(other, present), reader(segments, present))
    assert not torch.allclose(reader(segments * 0, present), reader(segments * 0, present & False))


@torch.no_grad()
def test_louder_audio_has_the_same_feature() -> None:
    torch.manual_seed(1)
    encoder = RobustAudioEncoder().eval()
    audio = torch.randn(1, 4_000) * 0.05
    torch.testing.assert_close(encoder(audio), encoder(audio * 3), atol=0.02, rtol=0.02)
