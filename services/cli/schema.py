"""`braid schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output


def schema(
    name: Annotated[str | None, typer.Argument(help="window, prediction, event, …, settings or asyncapi.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write all of them into this folder.")] = None,
    json: output.Json = False,
) -> None:
    """The contract for machines: JSON Schemas of records and settings, and the topics as an AsyncAPI 3 document."""
    from services.runtime.schema_files import files

    found = files()
    by_name = {file.partition(".")[0]: file for file in found}
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for file, text in found.items():
                (out / file).write_text(text, encoding="utf-8")
        except OSError as error:
            output.fail(f"{out}: {error.strerror}")
    if name is not None:
        if name not in by_name:
            output.fail(f"no schema {name}: {', '.join(by_name)}", 2)
        if json:
            output.result({"name": name, "file": by_name[name], "text": found[by_name[name]]})
        else:
            print(found[by_name[name]], end="")
    elif json:
        output.result({"names": by_name, "written": None if out is None else str(out)})
    else:
        print("\n".join(by_name) if out is None else f"{len(found)} files in {out}")
