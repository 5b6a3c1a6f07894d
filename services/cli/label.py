"""`braid label`."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli import output
from services.cli.why import Archive, PredictionId, Recording, find_evidence
from services.runtime.settings import load


def label(
    id: PredictionId,
    name: Annotated[str, typer.Argument(metavar="CLASS", help="The right label; `nothing` is a label, too.")],
    recording: Recording = None,
    archive: Archive = None,
    json: output.Json = False,
) -> None:
    """Give a prediction its right label: add a row with its media to a manifest that `braid train --data` reads.

    The media are copied, so that they remain when the topics no longer retain them; `braid forget` erases them.
    """
    from services.storage.evidence import PredictionKey
    from services.storage.labels import LabelStore, build_sample, check_label

    settings = load()
    store = LabelStore(settings.labels.folder)
    check_label(name)
    row = store.save(build_sample(find_evidence(settings, recording, archive, PredictionKey.parse(id)), name))
    count = len(store.rows())
    if json:
        output.print_json({"row": row, "manifest": str(store.manifest), "rows": count})
        return
    files = ", ".join(field for field in ("text", "image", "audio") if row[field] is not None)
    print(
        f"{id} is {name}"
        if row["predicted"] == name
        else f"{id} is {name}, not {row['predicted']}; stored with its {files}"
    )
    print(f"{count} samples: braid train --data {store.manifest}")
