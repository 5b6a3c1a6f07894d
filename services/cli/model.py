"""`braid model`: list, verify and show checkpoints; get, add and list encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import load_model, output
from services.cli.model_encoders import add_encoder, get_encoder, list_encoders
from services.runtime.settings import load

app = typer.Typer(no_args_is_help=True, help="List, verify and show checkpoints; get and add encoders.")

Folder = Annotated[Path | None, typer.Argument(help="A checkpoint. Default: the one that serves.")]


@app.command("list")
def list_models(json: output.Json = False) -> None:
    """List the checkpoints, and mark the one that serves."""
    from model.checkpoint_files import resolve_checkpoint

    served = resolve_checkpoint(load().fusion.model).resolve()
    checkpoints = [
        {"name": folder.parent.name, "version": folder.name, "serving": folder.resolve() == served}
        for folder in sorted(path.parent for path in served.parents[1].glob("*/*/config.json"))
    ]
    if json:
        output.print_json(checkpoints)
        return
    for checkpoint in checkpoints:
        print(f"{checkpoint['name']}/{checkpoint['version']}{'  (serving)' if checkpoint['serving'] else ''}")
    if not checkpoints:
        output.note(f"there are no checkpoints in {served.parents[1]}")


@app.command("verify")
def verify(folder: Folder = None, json: output.Json = False) -> None:
    """Check every file of a checkpoint against its checksum, and load it. Exit code 1 if it cannot be used."""
    folder = folder or load().fusion.model
    digest = load_model.load_model(folder).digest
    if json:
        output.print_json({"folder": str(folder), "ok": True, "digest": digest})
    else:
        print(f"{folder}: OK, digest {digest}")


@app.command("show")
def show(folder: Folder = None, json: output.Json = False) -> None:
    """Show the card of a checkpoint: data, results, limits."""
    from model.checkpoint_files import CARD, CONFIG, WEIGHTS, model_digest
    from model.checkpoint_files import verify as verify_files

    files = verify_files(folder or load().fusion.model)
    if json:
        output.print_json({"digest": model_digest(files[WEIGHTS], files[CONFIG]), "card": files[CARD].decode()})
    else:
        print(files[CARD].decode())


app.command("get")(get_encoder)
app.command("add")(add_encoder)
app.command("encoders")(list_encoders)
