"""Image encoders: a small convolutional network of the streams model, and a robust one of the task models.

The robust encoder gives covered pixels a mask of their own, for dark, coarse and half-covered images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

SIDE = 64


def resize_image(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize pixels uint8 [h, w, 3] to uint8 [SIDE, SIDE, 3]; an image of that size is returned as it is."""
    if pixels.shape[:2] == (SIDE, SIDE):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def prepare_image(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert pixels uint8 [h, w, 3] to float32 [3, SIDE, SIDE] with mean 0 and deviation 1."""
    values: NDArray[np.float32] = resize_image(pixels).astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    values -= values.mean()
    # As numpy's `std`, bit for bit, which would compute the mean and the differences once more.
    deviation = np.sqrt(np.square(values).sum() / values.size)
    values /= deviation + np.float32(0.02)
    return values


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class ImageEncoder(nn.Module):
    """Convolutions over an image."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.AvgPool2d(2), _block(3, 16), _block(16, 32), _block(32, 48), nn.Conv2d(48, 64, 3, padding=1), nn.ReLU()
        )
        self.out = nn.Linear(64 * 4, features)
        self.drop = nn.Dropout(0.3)

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode images float32 [batch, 3, SIDE, SIDE] to float32 [batch, features]."""
        features = nn.functional.adaptive_avg_pool2d(self.blocks(pictures), 2).flatten(1)
        return torch.relu(self.out(self.drop(features)))


CHANNELS = 4
COVERED_BELOW = 0.12
BRIGHT = int(0.95 * SIDE * SIDE)


def prepare_robust_image(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert pixels uint8 [h, w, 3] to float32 [4, SIDE, SIDE]: normalised colours of visible pixels, and their mask.

    Mean and deviation of visible pixels remove the lighting; pixels far darker than the brightest count as covered.
    """
    values = resize_image(pixels).astype(np.float32)
    light = values.max(2)
    brightest = float(np.partition(light.ravel(), BRIGHT)[BRIGHT]) + 1e-3
    visible = light > COVERED_BELOW * brightest
    if not visible.any():
        return np.zeros((CHANNELS, SIDE, SIDE), np.float32)
    centred = (values - values[visible].mean(0)) * visible[..., None]
    deviation = float(np.sqrt((centred**2).sum() / (3 * visible.sum())))
    centred /= deviation + 0.02 * brightest + 1e-3
    prepared: NDArray[np.float32] = np.concatenate([centred.transpose(2, 0, 1), visible[None]]).astype(np.float32)
    return prepared


class RobustImageEncoder(nn.Module):
    """Convolutions over an image and its mask."""

    def __init__(self, features: int, widths: Sequence[int] = (16, 32, 48, 64)) -> None:
        super().__init__()

        def block(channels_in: int, channels_out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )

        a, b, c, d = widths
        last = nn.Conv2d(c, d, 3, padding=1)
        self.blocks = nn.Sequential(nn.AvgPool2d(2), block(CHANNELS, a), block(a, b), block(b, c), last, nn.ReLU())
        self.out = nn.Linear(d * 4, features)
        self.drop = nn.Dropout(0.3)

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode images float32 [batch, 4, SIDE, SIDE] to float32 [batch, features]."""
        features: Tensor = nn.functional.adaptive_avg_pool2d(self.blocks(pictures), 2).flatten(1)
        return self.out(self.drop(features)).relu()  # type: ignore[no-any-return]
