"""`braid predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.runtime.settings import load

TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


def predict(
    text: Annotated[str | None, typer.Option(help="A sentence.")] = None,
    image: Annotated[Path | None, typer.Option(help="A JPEG, PNG or WebP file.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A WAV, FLAC or Ogg file; its first two seconds count.")] = None,
    model: Annotated[Path | None, typer.Option(help="A checkpoint; default: the one that serves.")] = None,
    json: output.Json = False,
) -> None:
    """What the model makes of one sample, from files and without a broker, and what each sense contributed."""
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model
    from model.predict_files import FileSample, predict_files

    if text is None and image is None and audio is None:
        output.fail("give at least one of --text, --image, --audio", 2)
    try:
        loaded = load_model(model or load().fusion.model, "cpu")
        sample = FileSample(text, image.read_bytes() if image else None, audio.read_bytes() if audio else None)
    except (CheckpointError, OSError) as error:
        output.fail(str(error))
    told = predict_files(loaded, sample)
    if isinstance(told, str):
        output.fail(told)
    if json:
        output.result(
            {
                "label": told.label,
                "confidence": round(told.confidence, 6),
                "top": [{"label": label, "p": round(p, 6)} for label, p in told.top],
                "contributions": {name: round(value, 6) for name, value in told.contributions.items()},
                "conflict": round(told.conflict, 6),
                "odd": told.odd,
                "abstained": told.abstained,
            }
        )
        return
    print(f"{told.label}  {told.confidence:.3f}" + ("  (not sure enough to say)" if told.abstained else ""))
    for name, value in told.contributions.items():
        print(f"  {name:6} {value:+.3f}")
    print("  others: " + ", ".join(f"{label} {p:.3f}" for label, p in told.top[1:]), file=sys.stdout)
