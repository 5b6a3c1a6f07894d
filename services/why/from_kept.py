"""Finds a prediction and what it was made from in the evidence that is kept of events."""

from __future__ import annotations

from services.contract.topics import Topics
from services.evidence.store import EvidenceStore
from services.why.evidence import Evidence, Wanted, evidence_in


def find(store: EvidenceStore, topics: Topics, wanted: Wanted) -> Evidence | None:
    """The evidence, None where no event of the session was kept with this prediction."""
    for entry in store.of_session(wanted.session):
        found = evidence_in(entry.predictions, entry.windows, entry.media, topics, wanted)
        if found is not None:
            return found
    return None
