"""The registry of modalities: content types, decoder, encoders and limits of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from model.decode import (
    JPEG_SIDE,
    READINGS,
    Undecodable,
    check_text,
    decode_audio,
    decode_image,
    decode_sensor,
    decode_text,
    encode_readings,
)
from model.encoders.audio import (
    SEGMENT_SAMPLES,
    STEP_FEATURES,
    STEPS,
    CoarseSpectrumEncoder,
    RobustAudioEncoder,
    RobustAudioReader,
)
from model.encoders.baseline import (
    BASELINE_FEATURES,
    BaselineAudioReader,
    BaselineImageEncoder,
    BaselineTextEncoder,
)
from model.encoders.handcrafted import (
    FIXED_FEATURES,
    FixedAudioReader,
    FixedImageEncoder,
    FixedTextEncoder,
)
from model.encoders.image import SIDE, RobustImageEncoder, prepare_robust_image
from model.encoders.sensor import SensorEncoder
from model.encoders.text import UNKNOWN, Lexicon, TextEncoder

FEATURES = 64
LIGHT, BASELINE, FIXED = "light", "baseline", "fixed"


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Size and kind of the encoders: vocabulary, vector size, kind (light, baseline or fixed) and width factor."""

    words: int
    vector_size: int
    kind: str = LIGHT
    width: float = 1.0

    def scale_channels(self, *channels: int) -> list[int]:
        """Scale channel counts by the width, each to a multiple of four."""
        return [max(round(count * self.width / 4), 1) * 4 for count in channels]

    @property
    def features(self) -> int:
        """Length of every branch's feature vector."""
        return {BASELINE: BASELINE_FEATURES, FIXED: FIXED_FEATURES}.get(self.kind, FEATURES)


@dataclass(frozen=True, slots=True)
class Modality:
    """A modality. Each item is encoded from itself alone; the reader combines the encoded items into one branch.

    Attributes:
        name: The name.
        content_types: The content types of its payloads.
        decode: Decodes a payload of a content type.
        prepare: Turns a decoded value into the encoder's input.
        encoder: Creates the encoder of items.
        reader: Creates the module that combines the items of a window.
        item_size: Length of an encoded item; None if it is that of the branch.
        items_max: How many items of one window count; None if each has a place on the window's grid.
        fields: Names in a manifest.
        inline: Checks a value that a manifest row holds itself; None if the row names a file.
        blank: A value without content, for empty places.
        has_content: Which encoder inputs [items, …] hold anything at all, float32 [items, 1]. An input without content (a
            text without a known word, a frame of one colour, silence) is absent evidence: it is encoded as zeros, and a
            branch of such items alone counts as absent.
    """

    name: str
    content_types: tuple[str, ...]
    decode: Callable[[bytes, str], Any | Undecodable]
    prepare: Callable[[Any, Lexicon], NDArray[Any]]
    encoder: Callable[[EncoderConfig], nn.Module]
    reader: Callable[[EncoderConfig], nn.Module]
    item_size: int | None
    items_max: int | None
    fields: tuple[str, ...]
    inline: Callable[[Any], Any | Undecodable] | None
    blank: Any
    has_content: Callable[[Tensor], Tensor]

    @property
    def on_grid(self) -> bool:
        """True if items have places on the window's grid, one per segment."""
        return self.items_max is None


class MeanReader(nn.Module):
    """The mean of the present items."""

    def forward(self, items: Tensor, present: Tensor) -> Tensor:
        """Reduce [batch, items, features] to [batch, features]."""
        weights = present.unsqueeze(-1).float()
        return (items * weights).sum(1) / weights.sum(1).clamp(min=1)


def prepare_segment(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pad or cut the samples of one segment to float32 [SEGMENT_SAMPLES]."""
    segment: NDArray[np.float32] = np.zeros(SEGMENT_SAMPLES, np.float32)
    segment[: len(samples)] = samples[:SEGMENT_SAMPLES]
    return segment


# Colours relative to their mean and deviation that are smaller than this everywhere are a frame of one colour.
COLOUR_MIN = 0.05
# Two steps of 16 bits: what a muted microphone or a file of zeros gives.
SILENCE_MAX = 2 / 32768


def _has_words(rows: Tensor) -> Tensor:
    return (rows > UNKNOWN).any(1, keepdim=True).float()


def _has_colours(pictures: Tensor) -> Tensor:
    return (pictures[:, :3].flatten(1).abs().amax(1, keepdim=True) > COLOUR_MIN).float()


def _has_sound(samples: Tensor) -> Tensor:
    return (samples.abs().amax(1, keepdim=True) > SILENCE_MAX).float()


def _has_readings(readings: Tensor) -> Tensor:
    return (readings != 0).any(1, keepdim=True).float()


def _text_encoder(config: EncoderConfig) -> nn.Module:
    if config.kind == BASELINE:
        return BaselineTextEncoder(config.words)
    if config.kind == FIXED:
        return FixedTextEncoder()
    return TextEncoder(config.words, config.vector_size, config.features, *config.scale_channels(40))


def _video_encoder(config: EncoderConfig) -> nn.Module:
    if config.kind == FIXED:
        return FixedImageEncoder()
    return (
        BaselineImageEncoder()
        if config.kind == BASELINE
        else RobustImageEncoder(config.features, config.scale_channels(16, 32, 48, 64))
    )


def _audio_encoder(config: EncoderConfig) -> nn.Module:
    if config.kind in (BASELINE, FIXED):
        return CoarseSpectrumEncoder()
    return RobustAudioEncoder(config.scale_channels(16, 32, 64))


def _audio_reader(config: EncoderConfig) -> nn.Module:
    if config.kind == FIXED:
        return FixedAudioReader()
    return (
        BaselineAudioReader()
        if config.kind == BASELINE
        else RobustAudioReader(config.features, *config.scale_channels(48))
    )


MODALITIES: Mapping[str, Modality] = {
    modality.name: modality
    for modality in (
        Modality(
            "text",
            ("text/plain", "application/json"),
            decode_text,
            lambda value, lexicon: lexicon.prepare(value),
            _text_encoder,
            lambda _: MeanReader(),
            None,
            4,
            ("text",),
            check_text,
            "",
            _has_words,
        ),
        Modality(
            "video",
            ("image/jpeg", "image/png", "image/webp"),
            lambda payload, _: decode_image(payload, side=SIDE),
            lambda value, _: prepare_robust_image(value),
            _video_encoder,
            lambda _: MeanReader(),
            None,
            8,
            ("image", "video"),
            None,
            np.zeros((1, 1, 3), np.uint8),
            _has_colours,
        ),
        Modality(
            "audio",
            ("audio/pcm", "audio/wav", "audio/flac", "audio/ogg"),
            decode_audio,
            lambda value, _: prepare_segment(value),
            _audio_encoder,
            _audio_reader,
            STEPS * STEP_FEATURES,
            None,
            ("audio",),
            None,
            np.zeros(0, np.float32),
            _has_sound,
        ),
        Modality(
            "sensor",
            ("application/json",),
            decode_sensor,
            lambda value, _: value,
            lambda shape: SensorEncoder(shape.features),
            lambda _: MeanReader(),
            None,
            8,
            ("sensor",),
            encode_readings,
            np.zeros(2 * len(READINGS), np.float32),
            _has_readings,
        ),
    )
}


def decoder_of(modality: str, jpeg_side: int) -> Callable[[bytes, str], Any | Undecodable]:
    """Return the decoder of a modality for models that declare this least side of decoded JPEGs."""
    if modality == "video" and jpeg_side != JPEG_SIDE:
        return lambda payload, _: decode_image(payload, side=SIDE, jpeg_side=jpeg_side)
    return MODALITIES[modality].decode
