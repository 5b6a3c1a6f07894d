"""A correct run has a balanced ledger; every kind of error is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.contract import window
from services.contract.alignment_config import AlignmentConfig
from services.contract.kafka_record import KafkaRecord
from services.inspection.audit.ledger import Ledger, PartitionLogs, build_ledger
from services.offline.driver import StreamDriver
from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.run_stream import IDLE_TIMEOUTS, ORIGIN_US
from services.runtime.settings import ROOT

STREAM = "S05"


@pytest.fixture(scope="module")
def logs() -> PartitionLogs:
    """Return the logs of a real stream with an outage of the microphone, aligned offline."""
    log = StreamDriver(AlignmentConfig(), IDLE_TIMEOUTS)
    sendings = list(read_stream(ROOT / "data", STREAM).records_between(STREAM, ORIGIN_US, 30_000_000, 60_000_000))
    outs = list(log.play(STREAM, sendings, ORIGIN_US))
    media = log.records
    windows = [
        KafkaRecord("topic", 0, n, o.at_us // 1000, b"", (), window.encode(o.window)) for n, o in enumerate(outs)
    ]
    lates = [
        KafkaRecord("topic", 0, n, 0, b"", (), window.encode_late(chunk, (), 0)) for n, chunk in enumerate(log.late)
    ]
    return PartitionLogs(0, media, windows, lates, [])


def books_of(logs: PartitionLogs) -> Ledger:
    return build_ledger([logs], AlignmentConfig(), lambda session: session == STREAM)


def finals(logs: PartitionLogs) -> list[KafkaRecord]:
    return [raw for raw in logs.windows if window.decode(raw.value or b"").final]


def test_a_correct_run_balances_and_every_window_is_what_the_logs_say(logs: PartitionLogs) -> None:
    books = books_of(logs)
    assert books.troubles == []
    assert books.balanced
    assert books.windows_wrong == 0
    assert len(books.windows) > 50
    assert books.early_windows > 50
    assert books.fates["windowed"] > 50


def test_invalid_records_are_reported_and_the_rest_is_checked(logs: PartitionLogs) -> None:
    values = [
        b"{}",
        b"[1]",
        b'{"topic":[],"partition":0,"offset":{},"stage":"admission","modality":7,"at":9}',
        b'{"topic":"braid.media.text.v1","partition":0,"offset":[1],"stage":"admission","modality":"text","at":{}}',
    ]
    junk = [KafkaRecord("topic", 0, 90 + n, 0, None, (), value) for n, value in enumerate(values)]
    books = books_of(replace(logs, late=[*logs.late, *junk], dead=junk))
    assert books.troubles == [f"{name} 0/{n} is no record of ours" for name in ("dead", "late") for n in range(90, 94)]
    assert books.balanced


def remove_a_window(logs: PartitionLogs) -> PartitionLogs:
    gone = finals(logs)[7]
    return replace(logs, windows=[raw for raw in logs.windows if raw is not gone])


def remove_a_member(logs: PartitionLogs) -> PartitionLogs:
    original = finals(logs)[7]
    record = window.decode(original.value or b"")
    audio = record.modalities["audio"]
    fewer = replace(record, modalities={**record.modalities, "audio": replace(audio, members=audio.members[1:])})
    wrong = original._replace(value=window.encode(fewer))
    return replace(logs, windows=[wrong if raw is original else raw for raw in logs.windows])


def change_evidence(logs: PartitionLogs) -> PartitionLogs:
    original = finals(logs)[3]
    record = window.decode(original.value or b"")
    text = replace(record.modalities["text"], evidence="end")
    wrong = original._replace(value=window.encode(replace(record, modalities={**record.modalities, "text": text})))
    return replace(logs, windows=[wrong if raw is original else raw for raw in logs.windows])


def add_a_second_version_of_a_window(logs: PartitionLogs) -> PartitionLogs:
    twice = finals(logs)[5]
    other = window.encode(replace(window.decode(twice.value or b""), closed_us=1))
    return replace(logs, windows=[*logs.windows, twice._replace(value=other)])


def add_a_record_without_a_fate(logs: PartitionLogs) -> PartitionLogs:
    text = logs.media["text"]
    stray = next(raw for raw in text if raw.key is not None)._replace(
        offset=len(text), value=b"\xff broken", headers=()
    )
    return replace(logs, media={**logs.media, "text": [*text, stray]})


@pytest.mark.parametrize(
    "corrupt",
    [
        remove_a_window,
        remove_a_member,
        change_evidence,
        add_a_second_version_of_a_window,
        add_a_record_without_a_fate,
    ],
    ids=lambda corrupt: corrupt.__name__,
)
def test_the_ledger_reports_troubles(corrupt: Callable[[PartitionLogs], PartitionLogs], logs: PartitionLogs) -> None:
    books = books_of(corrupt(logs))
    assert books.troubles
    assert books.windows_wrong or not books.balanced


def test_a_window_published_twice_with_the_same_bytes_is_a_copy(logs: PartitionLogs) -> None:
    books = books_of(replace(logs, windows=[*logs.windows, finals(logs)[2]]))
    assert books.copies == 1
    assert books.troubles == []
