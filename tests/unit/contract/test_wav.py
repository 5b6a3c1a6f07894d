"""PCM as WAV, for players."""

from __future__ import annotations

import io
import wave

from services.contract import media_headers
from services.contract.media_headers import AudioInfo, wav_from_pcm


def test_pcm_as_wav_has_the_same_samples() -> None:
    pcm = bytes(range(200)) * 2
    made = wav_from_pcm("audio/pcm;rate=8000;channels=2", pcm)
    assert made is not None
    with wave.open(io.BytesIO(made)) as read:
        assert (read.getframerate(), read.getnchannels(), read.getsampwidth()) == (8_000, 2, 2)
        assert read.readframes(1_000) == pcm
    measured = media_headers.measure_audio("audio/wav", made)
    assert isinstance(measured, AudioInfo)
    assert measured.samples == 100


def test_wav_is_made_only_from_valid_pcm() -> None:
    assert wav_from_pcm("audio/flac", b"fLaC") is None
    assert wav_from_pcm("audio/pcm;rate=8000", b"\0\0\0") is None
