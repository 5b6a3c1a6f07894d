"""The verdict of a run, from the logs alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.contract import canonical
from services.contract.dead_letter import Reason
from services.contract.kafka_record import KafkaRecord, MemberPosition
from services.fusion.inference import Inference
from services.inspection.audit.ledger import Ledger, PartitionLogs, build_ledger
from services.inspection.audit.recompute_predictions import recompute_predictions
from services.runtime.settings import Settings
from tests.torture.commits import Commit, premature_commits
from tests.torture.media import ABORTED, MARK, WAITS
from tests.torture.needs import needs_of, window_id_of

RECOMPUTED_MAX = 120
RAISES = (1, 20, 500)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was read from the broker after the run."""

    logs: Sequence[PartitionLogs]
    predictions: Sequence[KafkaRecord]
    commits: Sequence[Commit]
    added: Mapping[str, Sequence[KafkaRecord]]  # the records in partitions that were added, by topic
    acknowledged: int
    forged: int = 0
    aborted: int = 0


@dataclass(slots=True)
class Verdict:
    """Counts, and every problem found."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def judge(evidence: Evidence, settings: Settings, inference: Inference) -> Verdict:
    """Compare windows, fates, rejections, predictions and commits with the oracle's reading of the logs."""
    books = build_ledger(evidence.logs, settings.alignment_config(), lambda session: True)
    dead = _dead_letters(evidence.logs)
    sample = dict(list(books.windows.items())[:: max(len(books.windows) // RECOMPUTED_MAX, 1)])
    again = recompute_predictions(replace(books, windows=sample), evidence.logs, evidence.predictions, inference)
    predicted, copies, versions = _predictions(evidence.predictions, books)
    commits = [c for c in evidence.commits if c.group in groups(settings)]
    needs = needs_of(evidence.logs, evidence.predictions, books, settings.topic_names())
    out = Verdict(problems=[*books.troubles, *_check_rejections(evidence.logs, dead), *_check_members(books, dead)])
    out.problems += [*versions, *again.troubles]
    out.problems += premature_commits(commits, needs)
    if not books.balanced:
        out.problems.append("the books do not balance")
    visible = [raw for one in evidence.logs for raws in one.media.values() for raw in raws if raw.key is not None]
    stored = len(visible)
    waiting = sum(map(len, evidence.added.values()))
    if stored + waiting < evidence.acknowledged:
        out.problems.append(f"{evidence.acknowledged} records were acknowledged, {stored + waiting} are in the logs")
    out.problems += _check_added_partitions(evidence, settings, dead, commits)
    forged = sum(letters[0]["reason"] == Reason.FORGED for letters in dead.values())
    if forged < evidence.forged:
        out.problems.append(f"{evidence.forged} windows and idle records were forged, {forged} are dead letters")
    aborted = sum(name == ABORTED for raw in visible for name, _ in raw.headers)
    if aborted:
        out.problems.append(f"{aborted} records of aborted transactions are read: the check reads what nobody should")
    for by in RAISES:
        if not premature_commits([replace(c, offset=c.offset + by) for c in commits], needs):
            out.problems.append(f"commits raised by {by} would not be noticed: the check is blind")
    out.counts = {
        "records": stored,
        "in added partitions": waiting,
        "windows": len(books.windows),
        "window copies": books.copies,
        "late": books.fates["late"],
        "duplicates": books.fates["duplicate"],
        "conflicts": sum(1 for letter in dead.values() if letter[0]["stage"] == "alignment"),
        "refused": sum(1 for letter in dead.values() if letter[0]["stage"] == "admission"),
        "forged": forged,
        "aborted transactions": evidence.aborted,
        "predictions": predicted,
        "prediction copies": copies,
        "predictions computed again": again.checked,
        "payloads too costly": sum(b"too_costly" in (raw.value or b"") for raw in evidence.predictions),
        "commits checked": len(commits),
    }
    return out


def groups(settings: Settings) -> tuple[str, str]:
    """Return the consumer groups of the aligner and the fusion worker."""
    return f"{settings.kafka.group_prefix}-aligner", f"{settings.kafka.group_prefix}-fusion"


def _dead_letters(logs: Sequence[PartitionLogs]) -> dict[MemberPosition, list[dict[str, Any]]]:
    """Return the dead letters by the position of the rejected record."""
    found: dict[MemberPosition, list[dict[str, Any]]] = defaultdict(list)
    for one in logs:
        for raw in one.dead:
            letter = canonical.loads_object(raw.value or b"")
            position = MemberPosition(letter["topic"].split(".")[-2], letter["partition"], letter["offset"])
            found[position].append(letter)
    return found


def _check_rejections(logs: Sequence[PartitionLogs], dead: Mapping[MemberPosition, list[dict[str, Any]]]) -> list[str]:
    """Admission rejects exactly the records that the sender marked, for the marked reason."""
    expected = {
        MemberPosition(modality, one.partition, raw.offset): reason.decode()
        for one in logs
        for modality, raws in one.media.items()
        for raw in raws
        for name, reason in raw.headers
        if name == MARK
    }
    found = {
        at: letters
        for at, letters in dead.items()
        if letters[0]["stage"] == "admission" and letters[0]["reason"] != Reason.FORGED
    }
    problems = [f"{at} was rejected: {found[at][0]['reason']}" for at in found.keys() - expected.keys()]
    problems += [f"{at} was not rejected ({expected[at]})" for at in expected.keys() - found.keys()]
    for at in expected.keys() & found.keys():
        if {letter["reason"] for letter in found[at]} != {expected[at]}:
            problems.append(f"{at} was rejected for {found[at][0]['reason']}, not {expected[at]}")
    problems += [
        f"{at} has two different dead letters" for at, letters in dead.items() if any(d != letters[0] for d in letters)
    ]
    return problems


def _check_added_partitions(
    evidence: Evidence,
    settings: Settings,
    dead: Mapping[MemberPosition, list[dict[str, Any]]],
    commits: Sequence[Commit],
) -> list[str]:
    """Added partitions hold what devices sent there, which waits: no service writes there, reads it or rejects it."""
    count, media = settings.topics.partitions, settings.topic_names().media_all
    problems = [
        f"{topic} {raw.partition}/{raw.offset} was written by a service to a partition that was added"
        for topic, raws in evidence.added.items()
        for raw in raws
        if all(name != WAITS for name, _ in raw.headers)
    ]
    problems += [f"{at} is in a partition that was added and was rejected" for at in dead if at[1] >= count]
    problems += [
        f"{c.topic} {c.partition} was added and {c.offset} is committed for it" for c in commits if c.partition >= count
    ]
    grown = [topic for topic in evidence.added if topic in media]
    if grown and not any(evidence.added[topic] for topic in grown):
        problems.append(f"no device sent to the partitions that were added to {', '.join(grown)}: the check is blind")
    return problems


def _check_members(books: Ledger, dead: Mapping[MemberPosition, list[dict[str, Any]]]) -> list[str]:
    """No member of a window was rejected as well, but for payloads that only decoding finds unusable."""
    rejected = {at for at, letters in dead.items() if letters[0]["stage"] != "fusion"}
    members = {
        (modality, member.partition, member.offset)
        for window, _, _ in books.windows.values()
        for modality, lane in window.modalities.items()
        for member in lane.members
    }
    return [f"{at} stands in a window and is a dead letter" for at in members & rejected]


def _predictions(published: Sequence[KafkaRecord], books: Ledger) -> tuple[int, int, list[str]]:
    """Count predicted windows and duplicates; each window must have one prediction with one byte string."""
    versions: dict[str, set[bytes]] = defaultdict(set)
    predicted: dict[str, set[str]] = defaultdict(set)
    count = 0
    for raw in published:
        record = canonical.loads_object(raw.value or b"")
        if record["final"]:
            count += 1
            versions[record["id"]].add(raw.value or b"")
            predicted[window_id_of(record)].add(record["id"])
    problems = [f"prediction {id} was published in {len(v)} versions" for id, v in versions.items() if len(v) > 1]
    problems += [f"window {id} has {len(ids)} predictions" for id, ids in predicted.items() if len(ids) > 1]
    problems += [f"window {id} has no prediction" for id in books.windows.keys() - predicted.keys()]
    problems += [f"there is a prediction of the unknown window {id}" for id in predicted.keys() - books.windows.keys()]
    return len(predicted), count - len(versions), problems
