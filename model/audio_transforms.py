"""The mel spectrogram and the resampling of audio, with torch alone.

Both are torchaudio's, bit for bit (tests/unit/model/test_audio_transforms.py). torchaudio's library only loads beside the
build of torch that it was made for; without it services run on any build, such as one without CUDA.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd, log10, pi

import torch
from torch import Tensor, nn

# A kernel takes at most 10 MB (from 191,975 Hz), that of 44,100 Hz 160 KB.
KERNELS_REMEMBERED = 4
# The zero crossings of the sinc on each side, and the cutoff as a share of the lower rate's half.
ZERO_CROSSINGS, ROLLOFF = 6, 0.99


class Spectrogram(nn.Module):
    """The complex short-time Fourier transform with a Hann window, centred on its frames."""

    def __init__(self, n_fft: int, win_length: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.win_length, self.hop_length = n_fft, win_length, hop_length
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(win_length))

    def forward(self, samples: Tensor) -> Tensor:
        """Transform samples float32 [batch, n] to complex64 [batch, n_fft / 2 + 1, frames]."""
        return torch.stft(
            samples, self.n_fft, self.hop_length, self.win_length, self.window, pad_mode="reflect", return_complex=True
        )


class MelScale(nn.Module):
    """Triangular filters on the mel scale (HTK's formula)."""

    def __init__(self, rate: int, n_freqs: int, n_mels: int) -> None:
        super().__init__()
        self.fb: Tensor
        self.register_buffer("fb", mel_filters(rate, n_freqs, n_mels))

    def forward(self, power: Tensor) -> Tensor:
        """Sum power float32 [batch, n_freqs, frames] to [batch, n_mels, frames]."""
        return torch.matmul(power.transpose(-1, -2), self.fb).transpose(-1, -2)


class MelSpectrogram(nn.Module):
    """The two parts of a mel spectrogram; between them the caller computes the power."""

    def __init__(self, rate: int, n_fft: int, win_length: int, hop_length: int, n_mels: int) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(n_fft, win_length, hop_length)
        self.mel_scale = MelScale(rate, n_fft // 2 + 1, n_mels)


def mel_filters(rate: int, n_freqs: int, n_mels: int) -> Tensor:
    """Return triangular filters from 0 Hz to half the rate, float32 [n_freqs, n_mels]."""
    highest_mel = 2595.0 * log10(1.0 + float(rate // 2) / 700.0)
    corners_hz = 700.0 * (10.0 ** (torch.linspace(0.0, highest_mel, n_mels + 2) / 2595.0) - 1.0)
    widths_hz = corners_hz[1:] - corners_hz[:-1]
    slopes = corners_hz.unsqueeze(0) - torch.linspace(0, rate // 2, n_freqs).unsqueeze(1)
    falling, rising = (-1.0 * slopes[:, :-2]) / widths_hz[:-1], slopes[:, 2:] / widths_hz[1:]
    return torch.max(torch.zeros(1), torch.min(falling, rising))


def resample(samples: Tensor, rate: int, to_rate: int) -> Tensor:
    """Resample float32 [n] by band-limited sinc interpolation with a Hann window."""
    divisor = gcd(rate, to_rate)
    step, phases = rate // divisor, to_rate // divisor
    kernel, width = _sinc_kernel(step, phases)
    padded = nn.functional.pad(samples.view(1, -1), (width, width + step))
    resampled = nn.functional.conv1d(padded[:, None], kernel, stride=step).transpose(1, 2).reshape(-1)
    return resampled[: int(torch.ceil(torch.as_tensor(phases * len(samples) / step)))]


@lru_cache(KERNELS_REMEMBERED)
def _sinc_kernel(step: int, phases: int) -> tuple[Tensor, int]:
    """Return a filter for each phase of the output, float32 [phases, 1, taps], and the samples before the first one."""
    cutoff = min(step, phases) * ROLLOFF
    width = ceil(ZERO_CROSSINGS * step / cutoff)
    place = torch.arange(-width, width + step, dtype=torch.float32)[None, None] / step
    t = torch.arange(0, -phases, -1, dtype=torch.float32)[:, None, None] / phases + place
    t *= cutoff
    t = t.clamp_(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    window = torch.cos(t * pi / ZERO_CROSSINGS / 2) ** 2
    t *= pi
    kernel = torch.where(t == 0, torch.tensor(1.0), t.sin() / t)
    kernel *= window * (cutoff / step)
    return kernel, width
