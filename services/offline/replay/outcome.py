"""What came of media: final windows, final predictions and events, as their very bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.contract import canonical
from services.contract.record import MemberPosition


@dataclass(slots=True)
class ReplayOutcome:
    """Recorded, replayed or expected: first answers are in none, what they hold depends on timing.

    windows by id; predictions by window id; events: the records of each event id in order; refused: why the chunk at
    (modality, partition, offset) is in no window; open: windows that were not closed at the end.
    """

    windows: dict[str, bytes] = field(default_factory=dict)
    predictions: dict[str, bytes] = field(default_factory=dict)
    events: dict[str, list[bytes]] = field(default_factory=dict)
    fates: dict[MemberPosition, str] = field(default_factory=dict)
    open_windows: set[str] = field(default_factory=set)


def outcome_to_json(outcome: ReplayOutcome) -> dict[str, Any]:
    """All records as JSON values; `read` gives the same bytes again."""
    return {
        "windows": [canonical.loads(raw) for raw in outcome.windows.values()],
        "predictions": {window: canonical.loads(raw) for window, raw in outcome.predictions.items()},
        "events": {id: [canonical.loads(raw) for raw in raws] for id, raws in outcome.events.items()},
        "refused": [[*place, why] for place, why in sorted(outcome.fates.items())],
    }


def outcome_from_json(told: Mapping[str, Any]) -> ReplayOutcome:
    """The outcome that `as_json` told. Raises KeyError, TypeError or ValueError for what is none."""
    return ReplayOutcome(
        windows={str(window["id"]): canonical.dumps(window) for window in told["windows"]},
        predictions={window: canonical.dumps(found) for window, found in told["predictions"].items()},
        events={id: [canonical.dumps(found) for found in several] for id, several in told["events"].items()},
        fates={MemberPosition(str(m), int(n), int(at)): str(why) for m, n, at, why in told["refused"]},
    )
