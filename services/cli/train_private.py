"""`braid train --private-epsilon`."""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path
from typing import Any

from services.cli import output


def train_private(name: str, root: Path, out: Path, epsilon: float, delta: float) -> dict[str, Any]:
    """Train privately and write the checkpoint; what was spent stands in its config, its card and the answer."""
    from dataclasses import asdict

    from model.card import render_card
    from model.checkpoint import save
    from model.data.manifest_set import ManifestSet
    from model.data.registry import UnknownDataSet, read_set
    from model.data.tridigit import Tridigit
    from model.manifest import ManifestError
    from research.privacy.dp_sgd import PrivateRecipe
    from research.privacy.fit import fit_private, privacy_section, private_config

    try:
        data = read_set(name, root)
    except (UnknownDataSet, ManifestError) as error:
        output.fail(str(error), 2)
    if not isinstance(data, Tridigit | ManifestSet):
        output.fail(f"{name} has no validation rows to calibrate on: private training takes tridigit or a manifest", 2)
    rows = len(data.samples("train", "clean"))
    if delta >= 1 / rows:
        output.fail(f"--private-delta {delta:g} promises nothing: it must be below 1 / {rows}, the number of rows", 2)
    segments = data.segments if isinstance(data, ManifestSet) else 4
    recipe, began = PrivateRecipe(epsilon, delta, segments=segments), time.monotonic()

    def report(step: int, point: dict[str, float]) -> None:
        if step % 20 == 0 or step == recipe.steps:
            print(f"step {step} of {recipe.steps}", file=sys.stderr)

    try:
        built, spent = fit_private(
            data, root / "assistvec" / "vectors.npz", recipe, secrets.randbits(63), report
        )  # fmt: skip
    except ValueError as error:
        output.fail(str(error), 2)
    assert spent is not None
    seconds = time.monotonic() - began
    parameters = sum(p.numel() for p in built.network.parameters())
    config = private_config(built, data, recipe, spent, out.parent.name, out.name)
    shown = config | {"recipe": config["recipe"] | {"seed": "kept nowhere"}}
    digest = save(
        out, built.network, config, render_card(shown, parameters, seconds, built.cells) + privacy_section(spent)
    )
    size = (out / "model.safetensors").stat().st_size
    told = {"digest": digest, "parameters": parameters, "bytes": size, "seconds": round(seconds)}
    return told | {"validation": built.cells, "privacy": asdict(spent)}
