"""Recovery: where a partition number goes on after an assignment, from the topics alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import alignment_config, last_emitted_window, session_reset
from services.contract import window as window_record
from services.contract.dead_letter import Reason
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.session_reset import GenerationStart
from services.contract.topics import Topics
from services.contract.user_errors import EXIT_USAGE, BraidError
from services.contract.window import Window
from services.kafka.log_reader import read_range
from services.kafka.skipped_records import SkippedRecords
from services.kafka.start_offsets import find_start_offsets, first_append_ms


@dataclass(frozen=True, slots=True)
class InitialState:
    """Where a partition number starts.

    Attributes:
        positions: The next offset by modality.
        last_emitted_us: Start of the last emitted window by generation id.
        uncovered: By generation id, append time (us) of the oldest window read back that no frontier record covers.
        old_keys: By generation id, the frontier records of former owners: (key, start in us).
        generations: Where the generations of sessions that were reset begin.
    """

    positions: Mapping[str, int]
    last_emitted_us: Mapping[str, int]
    uncovered: Mapping[str, int]
    old_keys: Mapping[str, list[tuple[bytes, int]]]
    generations: Sequence[GenerationStart] = ()


class SettingsMismatchError(BraidError):
    """The topics hold windows that were made under other alignment settings."""

    exit_code = EXIT_USAGE

    def __init__(self, former: str, current: str) -> None:
        super().__init__(
            "The topics hold windows made under other alignment settings.",
            f"The digest of their settings is {former}; `braid config show` prints {current}.",
            "Stop the devices and run `braid migrate-settings`: it closes open windows under the old settings and hands "
            "over to the new ones. Or restore the old alignment settings, or use new topics (`topics.prefix`).",
        )


def initial_state(
    positions: Mapping[str, int],
    frontier_records: Iterable[tuple[bytes, LastEmittedWindow]],
    tail: Iterable[tuple[int, Window]],
    config: str,
    generations: Sequence[GenerationStart] = (),
) -> InitialState:
    """Join frontier records and the final windows at the end of the windows topic.

    Args:
        positions: The next offset by modality.
        frontier_records: Key and record.
        tail: Append time (us) and window.
        config: Digest of the alignment settings in force.
        generations: Where generations begin.

    Raises:
        SettingsMismatchError: A session got further under other settings than any record of these settings says. (A
            migration leaves a record at least as high.)
    """
    last_emitted_us: dict[str, int] = {}
    old_keys: dict[str, list[tuple[bytes, int]]] = {}
    of_other_settings: list[LastEmittedWindow] = []
    for key, record in frontier_records:
        id = record.generation_id
        old_keys.setdefault(id, []).append((key, record.start_us))
        if record.config == config:
            last_emitted_us[id] = max(record.start_us, last_emitted_us.get(id, record.start_us))
        else:
            of_other_settings.append(record)
    covered = dict(last_emitted_us)
    uncovered: dict[str, int] = {}
    for appended_us, window in tail:
        id, start_us = window.generation_id, window.start_us
        if window.config != config:
            of_other_settings.append(LastEmittedWindow.of(id, start_us, window.config))
            continue
        last_emitted_us[id] = max(start_us, last_emitted_us.get(id, start_us))
        if id not in covered or start_us > covered[id]:
            uncovered[id] = min(appended_us, uncovered.get(id, appended_us))
    for record in of_other_settings:
        if record.generation_id not in covered or record.start_us > covered[record.generation_id]:
            raise SettingsMismatchError(record.config, config)
    return InitialState(positions, last_emitted_us, uncovered, old_keys, generations)


_skipped = SkippedRecords("recovery")


@dataclass(frozen=True, slots=True)
class AlignerRecovery:
    """Where to start, and by modality how many offsets had been deleted before they were read."""

    start: InitialState
    lost: Mapping[str, int]


async def recover(
    group: AIOKafkaConsumer, reader: AIOKafkaConsumer, topics: Topics, number: int, tail_ms: int, config: str
) -> AlignerRecovery:
    """Read committed offsets, frontiers, generations and the end of the windows topic of one partition number.

    Args:
        group: The consumer of the group that commits.
        reader: A consumer without a group that reads every record; it is reassigned.
        topics: The topic names.
        number: The partition number.
        tail_ms: How far back the windows topic is read, in append time before the records at the committed offsets.
        config: Digest of the alignment settings in force.

    Raises:
        SettingsMismatchError: The topics hold windows of other settings.
        KafkaError: The broker fails.
    """
    media = {m: TopicPartition(topics.media(m), number) for m in topics.modalities}
    starts = await find_start_offsets(group, reader, media.values())
    positions = {modality: starts[tp].offset for modality, tp in media.items()}
    lost = {modality: starts[tp].lost for modality, tp in media.items()}
    firsts = [await first_append_ms(reader, tp, starts[tp].offset) for tp in media.values()]
    times_ms = [at_ms for at_ms in firsts if at_ms is not None]
    frontiers: dict[bytes, LastEmittedWindow] = {}
    async for record in read_range(reader, TopicPartition(topics.frontier, number)):
        with _skipped.guard(record):
            if alignment_config.is_record_key(record.key or b""):
                continue
            decoded = None if record.value is None else last_emitted_window.decode_or_none(record.value)
            if record.value is None:
                frontiers.pop(record.key, None)
            elif decoded is None:
                _skipped.skip(record, Reason.RECORD.value, "no frontier record")
            else:
                frontiers[record.key] = decoded
    generations: list[GenerationStart] = []
    async for record in read_range(reader, TopicPartition(topics.control, number)):
        with _skipped.guard(record):
            if session_reset.is_start_key(record.key) and record.value is not None:
                generations.append(session_reset.decode_start(record.value))
    windows = TopicPartition(topics.windows, number)
    end = (await reader.end_offsets([windows]))[windows]
    # Offsets that are all the ends were committed with every session covered, so no window needs to be read. If the
    # record at a committed offset was deleted, its time is unknown, and all windows are read.
    begin = 0 if any(lost.values()) else end
    if times_ms and not any(lost.values()):
        since = await reader.offsets_for_times({windows: max(min(times_ms) - tail_ms, 0)})
        begin = since[windows].offset if since[windows] else end
    finals: list[tuple[int, Window]] = []
    async for record in read_range(reader, windows, begin, end):
        with _skipped.guard(record):
            window = window_record.decode_or_none(record.value)
            if window is not None and window.final:
                finals.append((record.timestamp * 1000, window))
    return AlignerRecovery(initial_state(positions, frontiers.items(), finals, config, generations), lost)
