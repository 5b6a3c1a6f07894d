"""Audio encoders: a recurrent network of the streams model, and a noise-robust one of the task models.

The robust encoder takes each segment's log-mel about its own mean and about that of each band.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.audio_transforms import MelSpectrogram
from model.decode import RATE

SEGMENT_SAMPLES = RATE // 2
MELS = 40
STEPS = 6
STEP_FEATURES = 40


class LogMel(nn.Module):
    """Log-mel spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(RATE, n_fft=256, win_length=200, hop_length=80, n_mels=MELS)

    def forward(self, samples: Tensor) -> Tensor:
        """Convert samples float32 [batch, SEGMENT_SAMPLES] to log-mel float32 [batch, MELS, frames of 10 ms]."""
        # Squares of the parts: abs() of complex numbers takes a square root, and most of the time.
        power = torch.view_as_real(self.mel.spectrogram(samples)).square().sum(-1)
        mel: Tensor = self.mel.mel_scale(power)
        return torch.log(mel + 1e-5) / 4 + 1


class SegmentEncoder(nn.Module):
    """Convolutions over the log-mel of one segment."""

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel()

        def block(channels_in: int, channels_out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 3, padding=1),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(),
            )

        self.blocks = nn.Sequential(block(1, 16), block(16, 32), block(32, 64))
        self.out = nn.Linear(64 * (MELS // 8), STEP_FEATURES)

    def forward(self, samples: Tensor) -> Tensor:
        """Encode samples to a feature float32 [batch, STEPS * STEP_FEATURES], which is what services cache."""
        return self.spectrum(self.log_mel(samples))

    def spectrum(self, log_mel: Tensor) -> Tensor:
        """Encode a log-mel [batch, MELS, frames] that is computed already."""
        features = self.blocks(
            log_mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        )  # [batch, 32, MELS / 8, STEPS]
        steps = features.permute(0, 3, 1, 2).flatten(2)
        return torch.relu(self.out(steps)).flatten(1)


class SoundReader(nn.Module):
    """Bidirectional GRU over the segments of a window.

    A segment that was not received is a zero feature with a flag, so that silence and absence differ.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gru = nn.GRU(STEP_FEATURES + 1, 48, batch_first=True, bidirectional=True)
        self.out = nn.Linear(96 * 2, features)
        self.drop = nn.Dropout(0.2)

    def forward(self, segments: Tensor, present: Tensor) -> Tensor:
        """Reduce features [batch, segments, STEPS * STEP_FEATURES] to one feature [batch, features]."""
        batch, count, _ = segments.shape
        steps = segments.view(batch, count * STEPS, STEP_FEATURES)
        flags = present.repeat_interleave(STEPS, dim=1).unsqueeze(-1).float()
        states, _ = self.gru(torch.cat([steps * flags, flags], -1))
        return torch.relu(self.out(self.drop(torch.cat([states.amax(1), states.mean(1)], -1))))


VIEWS = 2


class SegmentSpectrum(nn.Module):
    """Two views of the log-mel: view 0 about its mean, view 1 about the mean of each band, which removes steady noise."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(RATE, n_fft=256, win_length=200, hop_length=80, n_mels=MELS)
        # The window and the filters are computed, not learned, so checkpoints do not store them.
        self.mel.spectrogram.register_buffer("window", self.mel.spectrogram.window, persistent=False)
        self.mel.mel_scale.register_buffer("fb", self.mel.mel_scale.fb, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Convert samples float32 [batch, SEGMENT_SAMPLES] to float32 [batch, VIEWS, MELS, frames of 10 ms]."""
        # Squares of the parts, because torch's abs() of complex numbers takes as long as the convolutions.
        power = torch.view_as_real(self.mel.spectrogram(samples)).square().sum(-1)
        loud = torch.log(self.mel.mel_scale(power) + 1e-7)
        level = loud - loud.mean((1, 2), keepdim=True)
        band = loud - loud.mean(2, keepdim=True)
        return torch.stack([level / 3, band / 2], 1)


class RobustAudioEncoder(nn.Module):
    """Convolutions over both views of one segment."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.spectrum = SegmentSpectrum()

        def block(channels_in: int, channels_out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(),
            )

        a, b, c = widths
        self.blocks = nn.Sequential(block(VIEWS, a), block(a, b), block(b, c))
        self.out = nn.Linear(c * (MELS // 8), STEP_FEATURES)

    def forward(self, samples: Tensor) -> Tensor:
        """Encode samples to a feature float32 [batch, STEPS * STEP_FEATURES], which is what services cache."""
        return self.encode_spectrum(self.spectrum(samples))

    def encode_spectrum(self, spectrum: Tensor) -> Tensor:
        """Encode a spectrum [batch, VIEWS, MELS, frames] that is computed already; training masks parts of it."""
        features = self.blocks(spectrum.contiguous(memory_format=torch.channels_last))
        return torch.relu(self.out(features.permute(0, 3, 1, 2).flatten(2))).flatten(1)


class CoarseSpectrumEncoder(nn.Module):
    """The mel bands of a segment in STEPS steps, without learned weights."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = SegmentSpectrum()

    def forward(self, samples: Tensor) -> Tensor:
        """Encode samples to float32 [batch, STEPS * STEP_FEATURES]."""
        return self.encode_spectrum(self.spectrum(samples))

    def encode_spectrum(self, spectrum: Tensor) -> Tensor:
        """Encode a spectrum [batch, VIEWS, MELS, frames] that is computed already."""
        coarse = nn.functional.adaptive_avg_pool2d(spectrum[:, 0], (MELS, STEPS))
        return coarse.transpose(1, 2).flatten(1)


class RobustAudioReader(nn.Module):
    """Bidirectional GRU over the segments of a window, pooled by maximum and attention.

    Segments that were not received are excluded from pooling and flagged for the recurrence.
    """

    def __init__(self, features: int, hidden: int = 48) -> None:
        super().__init__()
        self.gru = nn.GRU(STEP_FEATURES + 1, hidden, batch_first=True, bidirectional=True)
        self.weight = nn.Linear(2 * hidden, 1)
        self.out = nn.Linear(4 * hidden, features)
        self.drop = nn.Dropout(0.25)

    def forward(self, segments: Tensor, present: Tensor) -> Tensor:
        """Reduce features [batch, segments, STEPS * STEP_FEATURES] to one feature [batch, features]."""
        batch, count, _ = segments.shape
        steps = segments.reshape(batch, count * STEPS, STEP_FEATURES)
        known = present.repeat_interleave(STEPS, dim=1).unsqueeze(-1)
        flags = known.float()
        states, _ = self.gru(torch.cat([steps * flags, flags], -1))
        absent = ~known
        weights = torch.softmax(self.weight(states).masked_fill(absent, -1e4), 1)
        pooled = torch.cat([states.masked_fill(absent, -1.0).amax(1), (states * weights * flags).sum(1)], -1)
        return torch.relu(self.out(self.drop(pooled)))
