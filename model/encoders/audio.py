"""Audio of the streams model: log-mel and convolutions per segment, a recurrent network over the window."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from model.decode import RATE

SEGMENT_SAMPLES = RATE // 2
MELS = 40
STEPS = 6
STEP_FEATURES = 40


class LogMel(nn.Module):
    """Log-mel spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(RATE, n_fft=256, win_length=200, hop_length=80, n_mels=MELS, power=None)

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
