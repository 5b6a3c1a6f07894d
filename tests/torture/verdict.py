"""Is all as promised? Read from the logs alone, after the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.contract import canonical
from services.contract.record import KafkaRecord, MemberPosition
from services.fusion.inference import Inference
from services.inspection.audit.ledger import Ledger, PartitionLogs, build_ledger
from services.inspection.audit.predictions import recompute_predictions
from services.runtime.settings import Settings
from tests.torture.commits import Commit, past_the_floor
from tests.torture.media import MARK
from tests.torture.needs import answered, needs_of

RECOMPUTED_MAX = 240
RAISES = (1, 20, 500)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was read from the broker when all was over."""

    logs: Sequence[PartitionLogs]
    predictions: Sequence[KafkaRecord]
    commits: Sequence[Commit]
    acknowledged: int


@dataclass(slots=True)
class Verdict:
    """Counts, and every trouble found."""

    counts: dict[str, int] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)


def judge(evidence: Evidence, settings: Settings, inference: Inference) -> Verdict:
    """Windows, fates, refusals, predictions and commits against what the logs say."""
    books = build_ledger(evidence.logs, settings.alignment_config(), lambda session: True)
    dead = _dead(evidence.logs)
    sample = dict(list(books.windows.items())[:: max(len(books.windows) // RECOMPUTED_MAX, 1)])
    again = recompute_predictions(replace(books, windows=sample), evidence.logs, evidence.predictions, inference)
    answers, copies, versions = _predictions(evidence.predictions, books)
    commits = [c for c in evidence.commits if c.group in groups(settings)]
    needs = needs_of(evidence.logs, evidence.predictions, books, settings.topic_names())
    out = Verdict(troubles=[*books.troubles, *_refusals(evidence.logs, dead), *_both(books, dead)])
    out.troubles += [*versions, *again.troubles]
    out.troubles += past_the_floor(commits, needs)
    if not books.balanced:
        out.troubles.append("the books do not balance")
    kept = sum(1 for one in evidence.logs for raws in one.media.values() for raw in raws if raw.key is not None)
    if kept < evidence.acknowledged:
        out.troubles.append(f"{evidence.acknowledged} records were acknowledged, {kept} are in the logs")
    for by in RAISES:
        if not past_the_floor([replace(c, offset=c.offset + by) for c in commits], needs):
            out.troubles.append(f"commits raised by {by} would not be noticed: the check is blind")
    out.counts = {
        "records": kept,
        "windows": len(books.windows),
        "window copies": books.copies,
        "late": books.fates["late"],
        "duplicates": books.fates["duplicate"],
        "conflicts": sum(1 for letter in dead.values() if letter[0]["stage"] == "alignment"),
        "refused": sum(1 for letter in dead.values() if letter[0]["stage"] == "admission"),
        "predictions": answers,
        "prediction copies": copies,
        "predictions computed again": again.checked,
        "commits checked": len(commits),
    }
    return out


def groups(settings: Settings) -> tuple[str, str]:
    """The groups of the aligner and the fusion worker."""
    return f"{settings.kafka.group_prefix}-aligner", f"{settings.kafka.group_prefix}-fusion"


def _dead(logs: Sequence[PartitionLogs]) -> dict[MemberPosition, list[dict[str, Any]]]:
    """The dead letters by what they refuse."""
    found: dict[MemberPosition, list[dict[str, Any]]] = defaultdict(list)
    for one in logs:
        for raw in one.dead:
            letter = canonical.loads_object(raw.value or b"")
            position = MemberPosition(letter["topic"].split(".")[-2], letter["partition"], letter["offset"])
            found[position].append(letter)
    return found


def _refusals(logs: Sequence[PartitionLogs], dead: Mapping[MemberPosition, list[dict[str, Any]]]) -> list[str]:
    """Refused at admission are exactly the records that the sender marked, for the reason that it named."""
    wanted = {
        MemberPosition(modality, one.partition, raw.offset): reason.decode()
        for one in logs
        for modality, raws in one.media.items()
        for raw in raws
        for name, reason in raw.headers
        if name == MARK
    }
    found = {at: told for at, told in dead.items() if told[0]["stage"] == "admission"}
    troubles = [f"{at} was refused: {found[at][0]['reason']}" for at in found.keys() - wanted.keys()]
    troubles += [f"{at} was not refused ({wanted[at]})" for at in wanted.keys() - found.keys()]
    for at in wanted.keys() & found.keys():
        if {letter["reason"] for letter in found[at]} != {wanted[at]}:
            troubles.append(f"{at} was refused for {found[at][0]['reason']}, not {wanted[at]}")
    troubles += [f"{at} has two different dead letters" for at, told in dead.items() if any(d != told[0] for d in told)]
    return troubles


def _both(books: Ledger, dead: Mapping[MemberPosition, object]) -> list[str]:
    """No member of a window was refused too."""
    members = {
        (modality, member.partition, member.offset)
        for window, _, _ in books.windows.values()
        for modality, lane in window.modalities.items()
        for member in lane.members
    }
    return [f"{at} stands in a window and is a dead letter" for at in members & dead.keys()]


def _predictions(published: Sequence[KafkaRecord], books: Ledger) -> tuple[int, int, list[str]]:
    """How many windows were answered, how many copies there are; each window has one answer in one byte string."""
    versions: dict[str, set[bytes]] = defaultdict(set)
    answers: dict[str, set[str]] = defaultdict(set)
    count = 0
    for raw in published:
        record = canonical.loads_object(raw.value or b"")
        if record["final"]:
            count += 1
            versions[record["id"]].add(raw.value or b"")
            answers[answered(record)].add(record["id"])
    troubles = [f"prediction {id} was published in {len(v)} versions" for id, v in versions.items() if len(v) > 1]
    troubles += [f"window {id} has {len(ids)} answers" for id, ids in answers.items() if len(ids) > 1]
    troubles += [f"window {id} has no prediction" for id in books.windows.keys() - answers.keys()]
    troubles += [f"there is a prediction of {id}, which is no window" for id in answers.keys() - books.windows.keys()]
    return len(answers), count - len(versions), troubles
