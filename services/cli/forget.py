"""`braid forget`."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli import say
from services.runtime.settings import load

PREDICTIONS_DAYS = 7


def forget(
    session: Annotated[str, typer.Argument(help="The session whose kept evidence and labels go.")],
    json: say.Json = False,
) -> None:
    """Erase what is kept on disk of a session: the evidence of its events and its labelled samples. Says what the topics hold until retention."""
    from services.evidence.store import EvidenceStore
    from services.labels.store import LabelStore

    settings = load()
    keep, minutes = settings.keep_events, settings.topics.media_retention_min
    store = EvidenceStore(keep.folder, keep.days, keep.max_mb * 1_000_000)
    try:
        store.look()
        events, labels = store.forget(session), LabelStore(settings.labels.folder).forget(session)
    except OSError as error:
        say.fail(f"{error.filename or keep.folder} cannot be changed: {error.strerror}")
    left = {"media_and_windows_minutes": minutes, "predictions_and_events_days": PREDICTIONS_DAYS}
    if json:
        say.result({"session": session, "events_erased": events, "labels_erased": labels, "topics_hold_until": left})
        return
    print(f"erased the evidence of {events} events of {session} in {keep.folder}")
    print(f"erased {labels} labelled samples in {settings.labels.folder}")
    print(
        f"the topics still hold what they have of it: media and windows for {minutes} minutes, predictions and events for "
        f"{PREDICTIONS_DAYS} days after they came; recordings are yours to delete"
    )
