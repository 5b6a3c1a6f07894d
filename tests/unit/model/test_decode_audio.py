"""Decoding of audio to one rate within limits; everything else gives a reason."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.decode import RATE, SECONDS_MAX, Undecodable, decode_audio
from tests.unit.model.media import pcm, sine, sound_file, wav


def samples_of(payload: bytes, content_type: str) -> NDArray[np.float32]:
    decoded = decode_audio(payload, content_type)
    assert isinstance(decoded, np.ndarray), decoded
    assert decoded.dtype == np.float32
    return decoded


def test_pcm_is_decoded_unchanged() -> None:
    sent = sine(RATE)
    assert samples_of(pcm(sent), "audio/pcm;rate=8000;channels=1;format=s16le") == pytest.approx(sent, abs=1e-4)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_audio_files_are_decoded_to_samples(kind: str) -> None:
    decoded = samples_of(sound_file(sine(RATE), RATE, kind), f"audio/{kind.lower()}")
    assert len(decoded) == RATE
    assert float(np.sqrt(np.mean(decoded**2))) == pytest.approx(0.5 / np.sqrt(2), abs=0.02)


def test_two_channels_are_averaged() -> None:
    both = np.stack([np.full(100, 0.25), np.full(100, -0.25)], 1).reshape(-1).astype(np.float32)
    assert np.abs(samples_of(pcm(both), "audio/pcm;rate=8000;channels=2")).max() < 1e-4


# 47,999 and 12,345 share no large divisor with 8,000: the plain polyphase kernel of such a rate has gigabytes.
@pytest.mark.parametrize("rate", [8_001, 11_025, 12_345, 16_000, 22_050, 44_100, 47_999, 48_000])
def test_resampling_preserves_the_frequency_of_a_tone(rate: int) -> None:
    decoded = samples_of(pcm(sine(rate)), f'audio/pcm; rate="{rate}"')
    assert abs(len(decoded) - RATE) <= 1
    expected = sine(RATE)[: len(decoded)]
    inner = slice(100, len(decoded) - 100)
    # Audio at twice the rate is averaged in pairs, as for the recordings: half a sample later.
    assert np.abs(decoded - expected)[inner].max() < (0.1 if rate == 2 * RATE else 0.02)


@pytest.mark.parametrize(
    "content_type",
    [
        "audio/pcm",
        "audio/pcm;rate=",
        "audio/pcm;rate=fast",
        "audio/pcm;rate=0",
        "audio/pcm;rate=-8000",
        "audio/pcm;rate=8000;channels=0",
        "audio/pcm;rate=8000;channels=3",
    ],
)
def test_pcm_without_a_valid_rate_or_channels_is_undecodable(content_type: str) -> None:
    assert isinstance(decode_audio(pcm(sine(RATE, 0.1)), content_type), Undecodable)


def test_an_incomplete_sample_is_undecodable() -> None:
    assert isinstance(decode_audio(b"\0" * 8_001, "audio/pcm;rate=8000"), Undecodable)


def test_audio_at_the_length_limit_is_decoded_and_longer_is_not() -> None:
    assert len(samples_of(bytes(2 * RATE * SECONDS_MAX), "audio/pcm;rate=8000")) == RATE * SECONDS_MAX
    assert isinstance(decode_audio(bytes(2 * RATE * SECONDS_MAX + 2), "audio/pcm;rate=8000"), Undecodable)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 16_000])
def test_a_wav_with_length_zero_in_its_header_is_read_to_its_end(length: int) -> None:
    sent = sine(RATE)
    assert samples_of(wav(pcm(sent), length), "audio/wav") == pytest.approx(sent, abs=1e-4)


def test_a_header_with_too_high_a_rate_or_too_many_channels_is_refused() -> None:
    assert isinstance(decode_audio(wav(pcm(sine(RATE)), 16_000, rate=2_000_000_000), "audio/wav"), Undecodable)
    many = np.zeros((100, 16), np.float32)
    assert isinstance(decode_audio(sound_file(many, RATE, "WAV"), "audio/wav"), Undecodable)


def test_other_audio_formats_are_refused() -> None:
    assert isinstance(decode_audio(sound_file(sine(RATE), RATE, "AIFF"), "audio/wav"), Undecodable)


def test_empty_audio_is_decoded_to_no_samples() -> None:
    assert len(samples_of(b"", "audio/pcm;rate=44100")) == 0
