"""`braid label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.runtime.settings import load


def label(
    id: Annotated[str, typer.Argument(help="A prediction's id, as `braid tail --json` and events tell it.")],
    name: Annotated[str, typer.Argument(metavar="CLASS", help="What it should have been; `nothing` is a class, too.")],
    recording: Annotated[Path | None, typer.Option(help="Look in this recording and not in the topics.")] = None,
    kept: Annotated[Path | None, typer.Option(help="Look only in the evidence that is kept in this folder.")] = None,
    json: output.Json = False,
) -> None:
    """Say what an answer should have been: a line with its media in a manifest that `braid train --data` reads.

    The media are copied, so that they are there when the topics have them no more; `braid forget` erases them.
    """
    from services.cli.why import find_evidence
    from services.offline.recording.metadata import RecordingError
    from services.storage.evidence import InvalidPredictionId, PredictionKey
    from services.storage.labels import LabelStore
    from services.storage.training_sample import InvalidLabel, SampleNotRetained, build_sample, check_label

    settings = load()
    store = LabelStore(settings.labels.folder)
    try:
        check_label(name)
        evidence = find_evidence(settings, recording, kept, PredictionKey.parse(id))
        if evidence is None:
            output.fail(f"there is no prediction {id} (any more)", 3)
        row = store.save(build_sample(evidence, name))
        count = len(store.rows())
    except (InvalidLabel, InvalidPredictionId, RecordingError) as error:
        output.fail(str(error), 2)
    except SampleNotRetained as error:
        output.fail(str(error), 3)
    except OSError as error:
        output.fail(f"{settings.labels.folder} cannot be written: {error.strerror}")
    if json:
        output.result({"row": row, "manifest": str(store.manifest), "rows": count})
        return
    senses = ", ".join(field for field in ("text", "image", "audio") if row[field] is not None)
    print(f"{id} is {name}, not {row['said']}: kept with its {senses}" if row["said"] != name else f"{id} is {name}")
    print(f"{count} samples: braid train --data {store.manifest}")
