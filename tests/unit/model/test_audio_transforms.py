"""The mel spectrogram and the resampling are torchaudio's, bit for bit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchaudio

from model.audio_transforms import MelSpectrogram, resample
from model.decode import RATE
from model.encoders.audio import MELS


@pytest.mark.parametrize("count", [4_000, 4_001, 16_000, 200])
@pytest.mark.parametrize("rows", [1, 8])
def test_the_mel_spectrogram_equals_that_of_torchaudio(count: int, rows: int) -> None:
    shape = {"n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": MELS}
    ours, theirs = MelSpectrogram(RATE, **shape), torchaudio.transforms.MelSpectrogram(RATE, **shape, power=None)
    samples = torch.randn(rows, count, generator=torch.Generator().manual_seed(count + rows))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(ours.spectrogram(samples), theirs.spectrogram(samples))
    power = ours.spectrogram(samples).abs().square()
    assert torch.equal(ours.mel_scale(power), theirs.mel_scale(power))


@pytest.mark.parametrize("rate, n_mels, n_fft", [(16_000, 64, 512), (8_000, 40, 256), (22_050, 80, 1_024)])
def test_the_mel_filters_equal_those_of_torchaudio(rate: int, n_mels: int, n_fft: int) -> None:
    ours = MelSpectrogram(rate, n_fft, n_fft, n_fft // 2, n_mels)
    theirs = torchaudio.transforms.MelSpectrogram(rate, n_fft, n_fft, hop_length=n_fft // 2, n_mels=n_mels)
    assert torch.equal(ours.mel_scale.fb, theirs.mel_scale.fb)


@pytest.mark.parametrize("rate", [4_000, 6_000, 7_975, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("count", [1, 7, 800, 4_410, 48_001])
def test_resampling_equals_that_of_torchaudio(rate: int, count: int) -> None:
    samples = torch.randn(count, generator=torch.Generator().manual_seed(rate + count)).clamp(-1, 1)
    assert torch.equal(resample(samples, rate, RATE), torchaudio.functional.resample(samples, rate, RATE))


def test_services_and_training_do_not_import_torchaudio() -> None:
    modules = ("services.fusion.__main__", "services.cli.train", "services.cli.predict", "model.fit_and_calibrate")
    script = f"import sys, {', '.join(modules)}; sys.exit('torchaudio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0
