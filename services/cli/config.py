"""`braid config`: show and check the settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import output
from services.contract.user_errors import EXIT_USAGE
from services.runtime.settings import ROOT, SettingsError, load, settings_error
from services.runtime.settings.commented_yaml import explained

SCHEMA = ROOT / "docs" / "schemas" / "settings.schema.json"

app = typer.Typer(no_args_is_help=True, help="Show or check the settings.")


@app.command("show")
def show(
    json: output.Json = False,
    explain: Annotated[bool, typer.Option(help="Print a commented braid.yaml that can be used as it is.")] = False,
) -> None:
    """Print every setting with its value, and the digest of those that decide what windows contain."""
    settings = load()
    if explain and not json:
        if SCHEMA.is_file():
            print(f"# yaml-language-server: $schema={SCHEMA}")
        print(explained(settings), end="")
        return
    sections: dict[str, Any] = settings.model_dump(mode="json")
    config = settings.alignment_config().digest
    if json:
        output.print_json({"settings": sections, "config": config})
        return
    for path, value in _flat(sections):
        print(f"{path} = {value}")
    print(f"config digest (what windows depend on): {config}")


@app.command("check")
def check(json: output.Json = False) -> None:
    """Check the settings; exit code 2 if one is not valid."""
    try:
        settings = load()
        _check_model(settings.fusion.model)
    except SettingsError as error:
        if json:
            output.print_json({"ok": False, "troubles": list(error.problems)})
            raise SystemExit(EXIT_USAGE) from None
        if len(error.problems) == 1:
            raise
        print("\n".join(error.problems))
        raise SettingsError(error.what, do=error.do) from None
    if json:
        output.print_json({"ok": True, "troubles": []})
    else:
        print("The settings are valid.")


def _check_model(folder: Path) -> None:
    from model.checkpoint_files import CHECKSUMS, resolve_checkpoint

    if not (resolve_checkpoint(folder) / CHECKSUMS).is_file():
        raise settings_error(
            [f"fusion.model: there is no checkpoint in {folder}; `braid model list` shows what there is"]
        )


def _flat(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
