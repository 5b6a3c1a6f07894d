"""Where a partition number goes on after an assignment: from the logs alone, never from memory or disk. Pure.

Recovery: reads at assignment what the logs say about a partition number, and where to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import alignment_config, last_emitted_window
from services.contract import window as window_record
from services.contract.last_emitted_window import Frontier
from services.contract.topics import Topics
from services.contract.user_errors import EXIT_USAGE, BraidError
from services.contract.window import Window
from services.kafka.log_reader import read_range


@dataclass(frozen=True, slots=True)
class InitialState:
    """Positions by modality; per session the frontier, what no frontier record covers yet, and the keys read.

    uncovered: append time of the oldest window read back that no frontier record covers; old_keys: the frontier
    records of former owners, as (key, start told).
    """

    positions: Mapping[str, int]
    frontiers: Mapping[str, int]
    uncovered: Mapping[str, int]
    old_keys: Mapping[str, list[tuple[bytes, int]]]


class SettingsMismatchError(BraidError):
    """The topics hold windows that were made under other alignment settings."""

    exit_code = EXIT_USAGE

    def __init__(self, found: str, current: str) -> None:
        super().__init__(
            "The topics hold windows made under other alignment settings.",
            f"The digest of their settings is {found}; `braid config show` prints {current}.",
            "Stop the devices and run `braid migrate-settings`: it closes open windows under the old settings and hands "
            "over to the new ones. Or restore the old alignment settings, or use new topics (`topics.prefix`).",
        )


def initial_state(
    positions: Mapping[str, int],
    frontier_records: Iterable[tuple[bytes, Frontier]],
    tail: Iterable[tuple[int, Window]],
    config: str,
) -> InitialState:
    """Join frontier records (key, record) and final windows of the tail (append time in us, window).

    Raises OtherSettings where a session went further under another config than any record of ours says: what was
    drained has a record of ours at least as high.
    """
    frontiers: dict[str, int] = {}
    old_keys: dict[str, list[tuple[bytes, int]]] = {}
    told_by_others: list[Frontier] = []
    for key, told in frontier_records:
        old_keys.setdefault(told.session, []).append((key, told.start_us))
        if told.config == config:
            frontiers[told.session] = max(told.start_us, frontiers.get(told.session, told.start_us))
        else:
            told_by_others.append(told)
    covered = dict(frontiers)
    uncovered: dict[str, int] = {}
    for appended_us, window in tail:
        session, start_us = window.session, window.start_us
        if window.config != config:
            told_by_others.append(Frontier(session, start_us, window.config))
            continue
        frontiers[session] = max(start_us, frontiers.get(session, start_us))
        if session not in covered or start_us > covered[session]:
            uncovered[session] = min(appended_us, uncovered.get(session, appended_us))
    for told in told_by_others:
        if told.session not in covered or told.start_us > covered[told.session]:
            raise SettingsMismatchError(told.config, config)
    return InitialState(positions, frontiers, uncovered, old_keys)


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AlignerRecovery:
    """Where to start, and how many records had been deleted before we could read them (by modality)."""

    start: InitialState
    lost: Mapping[str, int]


async def recover(
    group: AIOKafkaConsumer, reader: AIOKafkaConsumer, topics: Topics, number: int, tail_ms: int, config: str
) -> AlignerRecovery:
    """Read committed floors, the frontier topic and the tail of the windows topic of one partition number.

    group: the consumer whose group's commits count; reader: one without a group, reassigned at will. Raises
    OtherSettings, KafkaError.
    """
    media = {m: TopicPartition(topics.media(m), number) for m in topics.modalities}
    begins = await reader.beginning_offsets(list(media.values()))
    ends = await reader.end_offsets(list(media.values()))
    floors: dict[str, int] = {}
    lost: dict[str, int] = {}
    for modality, tp in media.items():
        committed = await group.committed(tp)
        floors[modality] = max(begins[tp], committed or 0)
        lost[modality] = floors[modality] - committed if committed is not None else 0
    times_ms = [
        record.timestamp
        for modality, tp in media.items()
        if floors[modality] < ends[tp]
        async for record in read_range(reader, tp, floors[modality], floors[modality] + 1)
    ]
    told: dict[bytes, Frontier] = {}
    async for record in read_range(reader, TopicPartition(topics.frontier, number)):
        if alignment_config.is_record_key(record.key or b""):
            continue
        found = None if record.value is None else last_emitted_window.decode_or_none(record.value)
        if record.value is None:
            told.pop(record.key, None)
        elif found is None:
            _log.error("a frontier record cannot be read", extra={"partition": number, "offset": record.offset})
        else:
            told[record.key] = found
    windows = TopicPartition(topics.windows, number)
    end = (await reader.end_offsets([windows]))[windows]
    # Floors that are all the ends were committed with every session covered: then no tail is needed. Where the record
    # at a floor was deleted its time is unknown: then all that is left is read.
    begin = 0 if any(lost.values()) else end
    if times_ms and not any(lost.values()):
        since = await reader.offsets_for_times({windows: max(min(times_ms) - tail_ms, 0)})
        begin = since[windows].offset if since[windows] else end
    finals = [
        (record.timestamp * 1000, kept)
        async for record in read_range(reader, windows, begin, end)
        if (kept := window_record.decode_or_none(record.value)) is not None and kept.final
    ]
    return AlignerRecovery(initial_state(floors, told.items(), finals, config), lost)
