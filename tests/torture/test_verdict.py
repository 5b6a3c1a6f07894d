"""The verdict of a torture run passes a good run and reports each planted fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from model.checkpoint import load as load_model
from services.contract import canonical, window
from services.contract.dead_letter import Reason, Rejected, make_dead_letter
from services.contract.kafka_record import KafkaRecord, RecordPosition
from services.fusion.inference import Inference
from services.inspection.audit.ledger import PartitionLogs, build_ledger
from services.inspection.audit.recompute_predictions import recompute_predictions
from services.offline.driver import StreamDriver
from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.run_stream import IDLE_TIMEOUTS, ORIGIN_US
from services.runtime.settings import ROOT, load
from tests.torture.commits import Commit
from tests.torture.media import MARK
from tests.torture.needs import needs_of
from tests.torture.verdict import Evidence, judge

STREAM = "S05"
SETTINGS = load()
LATER_MS = 1_000


@pytest.fixture(scope="module")
def inference() -> Inference:
    return Inference(load_model(SETTINGS.fusion.model, "cpu"), 64 * 1024 * 1024)


@pytest.fixture(scope="module")
def evidence(inference: Inference) -> Evidence:
    """Ten seconds of a recorded session offline, predicted a second later, with the right commits in between."""
    log = StreamDriver(SETTINGS.alignment_config(), IDLE_TIMEOUTS)
    sendings = list(read_stream(ROOT / "data", STREAM).records_between(STREAM, ORIGIN_US, 30_000_000, 40_000_000))
    outs = list(log.play(STREAM, sendings, ORIGIN_US))
    media = log.records
    windows = [
        KafkaRecord("topic", 0, n, o.at_us // 1000, b"", (), window.encode(o.window)) for n, o in enumerate(outs)
    ]
    lates = [
        KafkaRecord("topic", 0, n, chunk.appended_us // 1000, b"", (), window.encode_late(chunk, (), 0))
        for n, chunk in enumerate(log.late)
    ]
    logs = [PartitionLogs(0, media, windows, lates, [])]
    books = build_ledger(logs, SETTINGS.alignment_config(), lambda session: True)
    found = recompute_predictions(books, logs, [], inference).by_window.values()
    predictions = [
        KafkaRecord("topic", 0, n, books.windows[p.window.id][2] + LATER_MS, b"", (), p.record)
        for n, p in enumerate(found)
        if p.window.final
    ]
    needs = needs_of(logs, predictions, books, SETTINGS.topic_names())
    commits = []
    for (topic, number), needed in needs.items():
        for at_ms in sorted({need.until_ms - 1 for need in needed}):
            floor = min(need.offset for need in needed if need.until_ms > at_ms)
            commits.append(Commit("braid-aligner", topic, number, floor, at_ms))
    return Evidence(logs, predictions, commits, {}, acknowledged=len(sendings))


def test_a_good_run_has_no_problems(evidence: Evidence, inference: Inference) -> None:
    verdict = judge(evidence, SETTINGS, inference)
    assert verdict.problems == []
    assert verdict.counts["windows"] == verdict.counts["predictions"] > 10
    assert verdict.counts["commits checked"] > 20


def without_a_prediction(e: Evidence) -> Evidence:
    return replace(e, predictions=e.predictions[1:])


def with_two_versions_of_a_prediction(e: Evidence) -> Evidence:
    other = canonical.loads_object(e.predictions[0].value or b"") | {"label": "another"}
    return replace(e, predictions=[*e.predictions, e.predictions[0]._replace(value=canonical.dumps(other))])


def with_a_prediction_of_an_unknown_window(e: Evidence) -> Evidence:
    record = canonical.loads_object(e.predictions[0].value or b"")
    other = record | {"id": "nobody/1", "session": "nobody"}
    return replace(e, predictions=[*e.predictions, e.predictions[0]._replace(value=canonical.dumps(other))])


def rejected(e: Evidence, stage: str, partition: int = 0) -> Evidence:
    raw = next(raw for raw in e.logs[0].media["audio"] if raw.key is not None)
    at = RecordPosition("braid.media.audio.v1", partition, raw.offset)
    _, value, headers = make_dead_letter(at, stage, Rejected(Reason.TIME, ""), raw.value, ()).encode(None)  # type: ignore[arg-type]
    return replace(
        e, logs=[replace(e.logs[0], dead=[KafkaRecord("topic", 0, 0, raw.timestamp, raw.key, headers, value)])]
    )


def with_a_good_record_rejected(e: Evidence) -> Evidence:
    return rejected(e, "admission")


def with_a_member_that_is_a_dead_letter_too(e: Evidence) -> Evidence:
    return rejected(e, "alignment")


def with_a_bad_record_that_was_not_rejected(e: Evidence) -> Evidence:
    media = dict(e.logs[0].media)
    first = media["audio"][0]
    media["audio"] = [first._replace(headers=[*first.headers, (MARK, b"time")]), *media["audio"][1:]]
    return replace(e, logs=[replace(e.logs[0], media=media)])


def with_a_record_lost(e: Evidence) -> Evidence:
    return replace(e, acknowledged=10_000)


def with_commits_before_the_windows_are_out(e: Evidence) -> Evidence:
    return replace(e, commits=[replace(c, at_ms=c.at_ms - 10_000) for c in e.commits])


def with_commits_of_the_read_position(e: Evidence) -> Evidence:
    return replace(e, commits=[replace(c, offset=c.offset + 3) for c in e.commits])


def with_a_record_of_a_service_in_an_added_partition(e: Evidence) -> Evidence:
    record = e.predictions[0]._replace(partition=8, headers=())
    return replace(e, added={SETTINGS.topic_names().predictions: [record]})


def with_a_dead_letter_of_an_added_partition(e: Evidence) -> Evidence:
    return rejected(e, "admission", partition=8)


def with_a_commit_for_an_added_partition(e: Evidence) -> Evidence:
    return replace(e, commits=[*e.commits, replace(e.commits[0], partition=8)])


def with_added_partitions_that_stayed_empty(e: Evidence) -> Evidence:
    return replace(e, added={SETTINGS.topic_names().media("text"): []})


def with_commits_that_cover_nothing(e: Evidence) -> Evidence:
    return replace(e, commits=[replace(c, offset=0) for c in e.commits[:1]])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (without_a_prediction, "has no prediction"),
        (with_two_versions_of_a_prediction, "was published in 2 versions"),
        (with_a_prediction_of_an_unknown_window, "the unknown window"),
        (with_a_good_record_rejected, "was rejected: time"),
        (with_a_member_that_is_a_dead_letter_too, "stands in a window and is a dead letter"),
        (with_a_bad_record_that_was_not_rejected, "was not rejected (time)"),
        (with_a_record_lost, "records were acknowledged"),
        (with_commits_before_the_windows_are_out, "before all records below it were processed"),
        (with_commits_of_the_read_position, "before all records below it were processed"),
        (with_commits_that_cover_nothing, "the check is blind"),
        (with_a_record_of_a_service_in_an_added_partition, "to a partition that was added"),
        (with_a_dead_letter_of_an_added_partition, "is in a partition that was added and was rejected"),
        (with_a_commit_for_an_added_partition, "8 was added and"),
        (with_added_partitions_that_stayed_empty, "no device sent to the partitions"),
    ],
)
def test_each_planted_fault_is_reported(
    spoil: Callable[[Evidence], Evidence], problem: str, evidence: Evidence, inference: Inference
) -> None:
    problems = judge(spoil(evidence), SETTINGS, inference).problems
    assert any(problem in line for line in problems), problems
