"""What differs between two outcomes of the same media: what appears, vanishes or changes, in which points and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from services.replay.outcome import Outcome
from services.replay.points import (
    event_core,
    event_points,
    fates,
    held,
    life,
    load,
    prediction_points,
    window_of,
    window_points,
)

Kind = Literal["window", "prediction", "event"]
How = Literal["appears", "vanishes", "changes"]
UNEXPLAINED = "no setting and no model changed: the code, or the machine, gives other bytes"


@dataclass(frozen=True, slots=True)
class Difference:
    """One record that is not the same: `what` in which points (before -> after), `why` the changes that led to it."""

    kind: Kind
    id: str
    how: How
    what: tuple[str, ...]
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """What was changed on purpose: settings as `path before -> after`, the model as `name before -> after`."""

    settings: tuple[str, ...] = ()
    model: str = ""


@dataclass(slots=True)
class Diff:
    """Counts by kind: identical bytes, and the same but for the digests of settings and model in them.

    uncompared: what one side cannot have: beyond the recording's beginning, or too near its end.
    """

    identical: dict[Kind, int] = field(default_factory=lambda: {"window": 0, "prediction": 0, "event": 0})
    alike: dict[Kind, int] = field(default_factory=lambda: {"window": 0, "prediction": 0, "event": 0})
    uncompared: dict[Kind, int] = field(default_factory=lambda: {"window": 0, "prediction": 0, "event": 0})
    differences: list[Difference] = field(default_factory=list)

    @property
    def same_bytes(self) -> bool:
        """True where every record that could be compared is the same to the byte."""
        return not self.differences and not any(self.alike.values())

    def of(self, kind: Kind) -> list[Difference]:
        return [d for d in self.differences if d.kind == kind]


def diff(before: Outcome, after: Outcome, cause: Cause, uncompared: Sequence[set[str]] = (set(), set())) -> Diff:
    """Compare two outcomes.

    uncompared: ids of windows and of sessions of which only what both sides have is compared, then nothing at all.
    """
    windows, events = uncompared
    out = Diff()
    found: dict[str, Difference] = {}
    for difference in _windows(before, after, cause, windows, out):
        found[difference.id] = difference
        out.differences.append(difference)
    out.differences += _predictions(before, after, cause, windows, found, out)
    out.differences += _events(before, after, cause, windows, events, out)
    return out


def _windows(before: Outcome, after: Outcome, cause: Cause, uncompared: set[str], out: Diff) -> Iterator[Difference]:
    why = cause.settings or (UNEXPLAINED,)
    for id in sorted(before.windows.keys() | after.windows.keys()):
        one, other = before.windows.get(id), after.windows.get(id)
        if one is not None and one == other:
            out.identical["window"] += 1
        elif one is None or other is None:
            if id in uncompared:
                out.uncompared["window"] += 1
            elif one is None:
                yield Difference("window", id, "appears", (held(load(other)),), why)
            else:
                what = "still open at the recording's end" if id in after.open else fates(load(one), after)
                yield Difference("window", id, "vanishes", (what,), why)
        else:
            what_changed = tuple(window_points(load(one), load(other), before, after))
            if what_changed:
                yield Difference("window", id, "changes", what_changed, why)
            else:
                out.alike["window"] += 1


def _predictions(
    before: Outcome,
    after: Outcome,
    cause: Cause,
    uncompared: set[str],
    windows: Mapping[str, Difference],
    out: Diff,
) -> Iterator[Difference]:
    model = (cause.model,) if cause.model else ()
    for id in sorted(before.predictions.keys() | after.predictions.keys()):
        one, other = before.predictions.get(id), after.predictions.get(id)
        window = windows.get(id)
        if one is not None and one == other:
            out.identical["prediction"] += 1
        elif one is None or other is None:
            if id in uncompared or (one is not None and id not in before.windows):
                out.uncompared["prediction"] += 1
                continue
            label = load(other if one is None else one).get("label")
            why = (f"its window {window.how}", *window.why) if window else cause.settings or model or (UNEXPLAINED,)
            yield Difference("prediction", id, "appears" if one is None else "vanishes", (f"label {label}",), why)
        else:
            points = tuple(prediction_points(load(one), load(other)))
            if not points:
                out.alike["prediction"] += 1
                continue
            why = ((f"its window {window.how}", *window.why) if window else ()) + model
            yield Difference("prediction", id, "changes", points, why or cause.settings or (UNEXPLAINED,))


def _events(
    before: Outcome, after: Outcome, cause: Cause, windows: set[str], sessions: set[str], out: Diff
) -> Iterator[Difference]:
    why = (*cause.settings, *((cause.model,) if cause.model else ())) or (UNEXPLAINED,)
    for id in sorted(before.events.keys() | after.events.keys()):
        one, other = before.events.get(id, []), after.events.get(id, [])
        if one == other:
            out.identical["event"] += 1
            continue
        said, now = [load(raw) for raw in one], [load(raw) for raw in other]
        if any(e["session"] in sessions or window_of(e) in windows for e in (*said, *now)):
            out.uncompared["event"] += 1
        elif not one or not other:
            told = ", ".join(life(e) for e in (said or now))
            yield Difference("event", id, "vanishes" if one else "appears", (told,), why)
        elif list(map(event_core, said)) == list(map(event_core, now)):
            out.alike["event"] += 1
        else:
            yield Difference("event", id, "changes", tuple(event_points(said, now)), why)
