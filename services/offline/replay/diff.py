"""The difference of two outcomes of the same media: what appears, vanishes or changes, in which fields, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from services.contract import canonical, prediction
from services.contract.kafka_record import MemberPosition
from services.offline.replay.baseline import ReplayOutcome

MEMBERS_SHOWN_MAX = 4
# Contributions (log probabilities) that differ by less are not listed by themselves.
CLOSE = 0.01


def window_points(
    one: Mapping[str, Any], other: Mapping[str, Any], before: ReplayOutcome, after: ReplayOutcome
) -> Iterator[str]:
    """Yield what differs between two versions of a window, with the fate of members that only one of them has."""
    for name, label in (
        ("end_us", "ends"),
        ("previous_us", "predecessor"),
        ("opened_us", "opens"),
        ("closed_us", "closes"),
    ):
        if one[name] != other[name]:
            yield f"{label} {_moved(one[name], other[name])}"
    for modality, a, b in _modality_pairs(one, other):
        yield from _state_points(modality, a, b)
        if a is None or b is None:
            continue
        if a["evidence"] != b["evidence"]:
            yield f"{modality} evidence {a['evidence']} -> {b['evidence']}"
        if a["bound_us"] != b["bound_us"]:
            yield f"{modality} bound {_moved(a['bound_us'], b['bound_us'])}"
        old, new = ({tuple(m["at"]): m for m in stream["members"]} for stream in (a, b))
        changed = [("-", place, old[place], after) for place in sorted(old.keys() - new.keys())]
        changed += [("+", place, new[place], before) for place in sorted(new.keys() - old.keys())]
        for sign, place, member, elsewhere in changed[:MEMBERS_SHOWN_MAX]:
            fate = elsewhere.fates.get(MemberPosition(modality, *place))
            then = f" ({fate} {'now' if sign == '-' else 'before'})" if fate else ""
            yield f"{sign}{modality} {member['source']}#{member['id']}{then}"
        if len(changed) > MEMBERS_SHOWN_MAX:
            yield f"{len(changed) - MEMBERS_SHOWN_MAX} more members of {modality} differ"


def prediction_points(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs between two predictions of a window, apart from ids and digests."""
    for name in ("label", "abstained", "odd", "error", "level"):
        if one.get(name) != other.get(name):
            yield f"{name} {one.get(name)} -> {other.get(name)}"
    if one["confidence"] != other["confidence"]:
        yield f"confidence {one['confidence']:.6f} -> {other['confidence']:.6f}"
    for modality, a, b in _modality_pairs(one, other):
        yield from _state_points(modality, a, b)
        if a is None or b is None:
            continue
        if a["unusable"] != b["unusable"]:
            yield f"{modality} unusable {_reasons(a)} -> {_reasons(b)}"
        if abs(a["contribution"] - b["contribution"]) >= CLOSE:
            yield f"{modality} contributes {a['contribution']:+.2f} -> {b['contribution']:+.2f}"
    ignored = {"id", "model", "window", "modalities", "label", "abstained", "odd", "error", "level", "confidence"}
    others = [n for n in sorted(one.keys() | other.keys()) if n not in ignored and one.get(n) != other.get(n)]
    if others:
        yield f"{', '.join(others)} differ"


def _modality_pairs(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    for modality in sorted(one["modalities"].keys() | other["modalities"].keys()):
        yield modality, one["modalities"].get(modality), other["modalities"].get(modality)


def _state_points(modality: str, a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> Iterator[str]:
    if a is None or b is None:
        yield f"{modality} {'appears' if a is None else 'vanishes'}"
    elif a["state"] != b["state"]:
        yield f"{modality} {a['state']} -> {b['state']}"


def _reasons(modality: Mapping[str, Any]) -> str:
    return ",".join(sorted({u["reason"] for u in modality["unusable"]})) or "none"


def describe_members(window: Mapping[str, Any]) -> str:
    """Return the number of members and the state of each modality."""
    texts = (f"{m} {len(stream['members'])} ({stream['state']})" for m, stream in sorted(window["modalities"].items()))
    return ", ".join(texts)


def describe_fates(window: Mapping[str, Any], after: ReplayOutcome) -> str:
    """Return what became of a window's members in the other outcome."""
    places = [MemberPosition(m, *x["at"]) for m, stream in window["modalities"].items() for x in stream["members"]]
    fates = sorted({fate for place in places if (fate := after.fates.get(place))})
    return f"{len(places)} members" + (f", now {', '.join(fates)}" if fates else "")


def describe_event(e: Mapping[str, Any]) -> str:
    """Return one record of an event in two words."""
    return f"{e['lifecycle']} {e['label']}"


def event_points(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield another order or other labels of an event's records; else other times and confidences."""
    if [describe_event(e) for e in one] != [describe_event(e) for e in other]:
        yield f"{', '.join(map(describe_event, one))} -> {', '.join(map(describe_event, other))}"
        return
    for a, b in zip(one, other, strict=True):
        for name in ("start", "end"):
            if a[name] != b[name]:
                yield f"{describe_event(a)}: {name} {_moved(a[name], b[name])}"
        if a["confidence"] != b["confidence"]:
            yield f"{describe_event(a)}: confidence {a['confidence']:.6f} -> {b['confidence']:.6f}"


def _moved(one_us: int | None, other_us: int | None) -> str:
    """By how much a time (us) moves; from or to None if only one side has it."""
    if one_us is None or other_us is None:
        return f"{one_us} -> {other_us}"
    way = "later" if other_us > one_us else "earlier"
    return f"{abs(other_us - one_us) / 1000:g} ms {way}"


def event_core(e: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the fields of an event record that are not ids."""
    return tuple(e[name] for name in ("lifecycle", "label", "start", "end", "confidence"))


def window_of(e: Mapping[str, Any]) -> str:
    """Return the id of the window that led to an event record."""
    return str(e["prediction"]).rpartition("@")[0]


def load(raw: bytes | None) -> dict[str, Any]:
    """Parse a record; return {} if there is none."""
    return canonical.loads_object(raw or b"{}")


Kind = Literal["window", "prediction", "event"]
How = Literal["appears", "vanishes", "changes"]
UNEXPLAINED = "no setting and no model changed: the code, or the machine, gives other bytes"


@dataclass(frozen=True, slots=True)
class Difference:
    """A record that differs: `what` are the fields (before -> after), `why` the changes that led to it."""

    kind: Kind
    id: str
    how: How
    what: tuple[str, ...]
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplayChanges:
    """The changes of a replay: settings as `path before -> after`, the model as `name before -> after`."""

    settings: tuple[str, ...] = ()
    model: str = ""


@dataclass(slots=True)
class OutcomeDiff:
    """The differences, and counts by kind of record.

    Attributes:
        identical: Records with identical bytes.
        alike: Records that differ only in the digests of settings and model.
        uncompared: Records that one side cannot have: before the recording's beginning, or too near its end.
        differences: The records that differ.
    """

    identical: dict[Kind, int] = field(default_factory=lambda: {"window": 0, "prediction": 0, "event": 0})
    alike: dict[Kind, int] = field(default_factory=lambda: {"window": 0, "prediction": 0, "event": 0})
    uncompared: dict[Kind, int] = field(default_factory=lambda: {"window": 0, "prediction": 0, "event": 0})
    differences: list[Difference] = field(default_factory=list)

    @property
    def same_bytes(self) -> bool:
        """True if every record that could be compared is identical, byte for byte."""
        return not self.differences and not any(self.alike.values())

    def of(self, kind: Kind) -> list[Difference]:
        """Return the differences of one kind of record."""
        return [d for d in self.differences if d.kind == kind]


def diff_outcomes(
    before: ReplayOutcome, after: ReplayOutcome, cause: ReplayChanges, uncompared: Sequence[set[str]] = (set(), set())
) -> OutcomeDiff:
    """Compare two outcomes.

    Args:
        before: The outcome to compare with.
        after: The new outcome.
        cause: What was changed on purpose.
        uncompared: Ids of windows that are compared only if both sides have them, and sessions whose events are not.
    """
    windows, events = uncompared
    out = OutcomeDiff()
    found: dict[str, Difference] = {}
    for difference in _windows(before, after, cause, windows, out):
        found[difference.id] = difference
        out.differences.append(difference)
    out.differences += _predictions(before, after, cause, windows, found, out)
    out.differences += _events(before, after, cause, windows, events, out)
    return out


def _windows(
    before: ReplayOutcome, after: ReplayOutcome, cause: ReplayChanges, uncompared: set[str], out: OutcomeDiff
) -> Iterator[Difference]:
    why = cause.settings or (UNEXPLAINED,)
    for id in sorted(before.windows.keys() | after.windows.keys()):
        one, other = before.windows.get(id), after.windows.get(id)
        if one is not None and one == other:
            out.identical["window"] += 1
        elif one is None or other is None:
            if id in uncompared:
                out.uncompared["window"] += 1
            elif one is None:
                yield Difference("window", id, "appears", (describe_members(load(other)),), why)
            else:
                what = (
                    "still open at the recording's end"
                    if id in after.open_windows
                    else describe_fates(load(one), after)
                )
                yield Difference("window", id, "vanishes", (what,), why)
        else:
            what_changed = tuple(window_points(load(one), load(other), before, after))
            if what_changed:
                yield Difference("window", id, "changes", what_changed, why)
            else:
                out.alike["window"] += 1


def _predictions(
    before: ReplayOutcome,
    after: ReplayOutcome,
    cause: ReplayChanges,
    uncompared: set[str],
    windows: Mapping[str, Difference],
    out: OutcomeDiff,
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
            label = prediction.decode(other if one is None else one)["label"]
            why = (f"its window {window.how}", *window.why) if window else cause.settings or model or (UNEXPLAINED,)
            yield Difference("prediction", id, "appears" if one is None else "vanishes", (f"label {label}",), why)
        else:
            points = tuple(prediction_points(prediction.decode(one), prediction.decode(other)))
            if not points:
                out.alike["prediction"] += 1
                continue
            why = ((f"its window {window.how}", *window.why) if window else ()) + model
            yield Difference("prediction", id, "changes", points, why or cause.settings or (UNEXPLAINED,))


def _events(
    before: ReplayOutcome,
    after: ReplayOutcome,
    cause: ReplayChanges,
    windows: set[str],
    sessions: set[str],
    out: OutcomeDiff,
) -> Iterator[Difference]:
    why = (*cause.settings, *((cause.model,) if cause.model else ())) or (UNEXPLAINED,)
    for id in sorted(before.events.keys() | after.events.keys()):
        one, other = before.events.get(id, []), after.events.get(id, [])
        if one == other:
            out.identical["event"] += 1
            continue
        earlier, now = [load(raw) for raw in one], [load(raw) for raw in other]
        if any(e["session"] in sessions or window_of(e) in windows for e in (*earlier, *now)):
            out.uncompared["event"] += 1
        elif not one or not other:
            label = ", ".join(describe_event(e) for e in (earlier or now))
            yield Difference("event", id, "vanishes" if one else "appears", (label,), why)
        elif list(map(event_core, earlier)) == list(map(event_core, now)):
            out.alike["event"] += 1
        else:
            yield Difference("event", id, "changes", tuple(event_points(earlier, now)), why)
