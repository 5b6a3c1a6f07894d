"""`braid model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.runtime.settings import load

app = typer.Typer(no_args_is_help=True, help="Look at checkpoints, or check that they are whole.")


@app.command("list")
def list_models(json: output.Json = False) -> None:
    """The checkpoints that are there, and which one serves."""
    from model.checkpoint import resolve_checkpoint

    served = resolve_checkpoint(load().fusion.model).resolve()
    models = served.parents[1]
    found = [
        {"name": folder.parent.name, "version": folder.name, "serving": folder.resolve() == served}
        for folder in sorted(path.parent for path in models.glob("*/*/config.json"))
    ]
    if json:
        output.result(found)
    else:
        print("\n".join(f"{m['name']}/{m['version']}{'  (serving)' if m['serving'] else ''}" for m in found) or "none")


@app.command("verify")
def verify(folder: Annotated[Path | None, typer.Argument(help="Default: the one that serves.")] = None) -> None:
    """Check every file of a checkpoint against its sum and load it; 1 where something is wrong."""
    from model.checkpoint import CheckpointError
    from model.checkpoint import load as load_model

    folder = folder or load().fusion.model
    try:
        found = load_model(folder, "cpu")
    except CheckpointError as error:
        output.fail(str(error))
    print(f"{folder}: whole, digest {found.digest}")


@app.command("show")
def show(
    folder: Annotated[Path | None, typer.Argument(help="Default: the one that serves.")] = None,
    json: output.Json = False,
) -> None:
    """The card of a checkpoint: data, results, limits."""
    from model.checkpoint import CARD, CONFIG, CheckpointError, model_digest
    from model.checkpoint import WEIGHTS as weights
    from model.checkpoint import verify as verify_files

    try:
        files = verify_files(folder or load().fusion.model)
    except CheckpointError as error:
        output.fail(str(error))
    if json:
        output.result({"digest": model_digest(files[weights], files[CONFIG]), "card": files[CARD].decode()})
    else:
        print(files[CARD].decode())
