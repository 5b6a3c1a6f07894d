"""Predict and explain one sample from files, without any service."""

from __future__ import annotations

from dataclasses import dataclass

from model.audio_grid import TimedSamples, cut_segments
from model.decode import RATE, Undecodable, decode_audio, decode_image
from model.encoders.audio import SEGMENT_SAMPLES
from model.explain import Explanation, explain_window
from model.predictor import FusionModel, WindowFeatures


@dataclass(frozen=True, slots=True)
class FileSample:
    """Text, image file and audio file of a sample; None for an absent modality."""

    text: str | None
    image: bytes | None
    audio: bytes | None


def predict_files(model: FusionModel, sample: FileSample) -> Explanation | str:
    """Predict a sample; return a sentence if an input cannot be decoded or is not one of the model's."""
    values = {"text": sample.text, "video": sample.image, "audio": sample.audio}
    unknown = [m for m, value in values.items() if value is not None and m not in model.modalities]
    if unknown:
        return f"the model {model.name} has no input {unknown[0]}, only {', '.join(model.modalities)}: leave it out"
    text, video, audio = [], [], {}
    if sample.text is not None:
        text = model.encode("text", [model.prepare("text", sample.text)])
    if sample.image is not None:
        pixels = decode_image(sample.image)
        if isinstance(pixels, Undecodable):
            return f"the image: {pixels.detail}"
        video = model.encode("video", [model.prepare("video", pixels)])
    if sample.audio is not None:
        samples = decode_audio(sample.audio, "audio/file")
        if isinstance(samples, Undecodable):
            return f"the audio: {samples.detail}"
        hop_us = SEGMENT_SAMPLES * 1_000_000 // RATE
        window_us = hop_us * model.segments_per_sample
        segments = cut_segments([TimedSamples(0, "file", "0", samples)], 0, window_us, hop_us, RATE)
        features = model.encode("audio", [model.prepare("audio", s.samples) for s in segments])
        audio = {s.start_us // hop_us: feature for s, feature in zip(segments, features, strict=True)}
    window = WindowFeatures({"text": text, "video": video, "audio": audio})
    (rows,) = model.fuse([window])
    return explain_window(rows, window.present, model.modalities, model.labels, model.conflict_from, model.conformal)
