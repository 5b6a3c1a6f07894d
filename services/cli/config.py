"""`braid config`."""

from __future__ import annotations

import typer

from services.cli import say
from services.runtime.settings import SettingsError, load

app = typer.Typer(no_args_is_help=True, help="Look at the settings, or check them.")


@app.command("show")
def show(json: say.Json = False) -> None:
    """Every setting as it is in force, and the digest of those that are part of the result."""
    settings = load()
    sections: dict[str, dict[str, object]] = settings.model_dump(mode="json")
    found = {"settings": sections, "config": settings.semantics().config}
    if json:
        say.result(found)
        return
    for section, values in sections.items():
        for name, value in values.items():
            print(f"{section}.{name} = {value}")
    print(f"config digest (what windows depend on): {found['config']}")


@app.command("check")
def check(json: say.Json = False) -> None:
    """Say whether the settings can be used; 2 where not, with path, value and what is allowed."""
    try:
        load()
    except SettingsError as error:
        if json:
            say.result({"ok": False, "troubles": str(error).splitlines()})
            raise SystemExit(2) from None
        raise
    if json:
        say.result({"ok": True, "troubles": []})
    else:
        print("the settings can be used")
