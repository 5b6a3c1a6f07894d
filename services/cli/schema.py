"""`braid schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output


def schema(
    name: Annotated[str | None, typer.Argument(help="window, prediction, event, …, settings or asyncapi.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write all schemas into this folder.")] = None,
    json: output.Json = False,
) -> None:
    """Print the JSON Schema of a record or of the settings, or the topics as an AsyncAPI 3 document."""
    from services.runtime.schema_documents import files

    texts = files()
    by_name = {file.partition(".")[0]: file for file in texts}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (out / file).write_text(text, encoding="utf-8")
    if name is not None:
        if name not in by_name:
            raise output.UsageError(f"There is no schema {name}.", f"There are {', '.join(by_name)}.")
        if json:
            output.print_json({"name": name, "file": by_name[name], "text": texts[by_name[name]]})
        else:
            print(texts[by_name[name]], end="")
    elif json:
        output.print_json({"names": by_name, "written": None if out is None else str(out)})
    else:
        print("\n".join(by_name) if out is None else f"{len(texts)} files in {out}")
