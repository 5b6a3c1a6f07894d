"""`braid devices`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.contract.alignment_config import AlignmentConfig
    from services.contract.kafka_record import KafkaRecord
    from services.contract.source_stats import SourceStats
    from services.contract.topics import Topics

RECORDS_MAX = 20_000
SourceKey = tuple[str, str, str]


def devices(
    minutes: Annotated[float, typer.Option(help="How far back to read.", min=0.1, max=1440)] = 10,
    json: output.Json = False,
) -> None:
    """List the sources: last record, rate, clock offset, share of late records; and devices that are silent.

    The clock offset is the smallest arrival time minus the end of a capture: the shortest delay, plus how far the
    device's clock is behind the broker's. An offset far below the others is a clock that runs ahead. A correction by the
    settings of `devices` is shown beside it.
    """
    settings = load()
    settings.require_broker()
    sources, unreadable = asyncio.run(_read(settings, minutes))
    now_us = time.time_ns() // 1000
    silent_us = settings.gateway.silent_s * 1_000_000
    rows = [
        {"session": session, "modality": modality, "source": source, **stats.as_json(source, now_us, silent_us)}
        for (session, modality, source), stats in sorted(sources.items(), key=lambda item: item[0])
    ]
    silent = _silent_devices(settings, {row["source"] for row in rows})
    if json:
        output.print_json({"devices": rows, "not_heard": silent, "unreadable_late": unreadable})
        return
    if rows:
        columns = ["session", "source", "modality", "last record", "rate", "clock offset", "late", "rejected"]
        print(output.table(columns, [_cells(row) for row in rows]), end="")
    else:
        print(f"No source has sent in the last {minutes:g} minutes.")
    for row in rows:
        if row["clock_problem"]:
            print(f"{row['source']}: {row['clock_problem']}. {row['clock_remedy']}")
    for name in silent:
        print(f"{name} is in the settings and has not sent in the last {minutes:g} minutes.")
    if unreadable:
        print(f"{unreadable} records of the late topic cannot be read: `braid inspect late` shows them.")


def _cells(row: dict[str, Any]) -> list[str]:
    at = time.strftime("%H:%M:%S", time.localtime(row["last_seen_us"] / 1e6))
    last = f"SILENT since {at}" if row["silent_since_us"] else f"{row['last_seen_s']:.1f} s ago"
    corrected = f" (corrected by {row['clock_corrected_ms']:+d} ms)" if row["clock_corrected_ms"] else ""
    return [
        row["session"],
        row["source"],
        row["modality"],
        f"ended {at}" if row["ended"] else last,
        f"{row['rate_hz']:.2f}/s",
        f"{row['clock_offset_ms']:+d} ms{corrected}",
        f"{row['late_share']:.1%}",
        ", ".join(f"{count} {reason}" for reason, count in row["rejected"].items()) or "0",
    ]


def _silent_devices(settings: Settings, sources: set[str]) -> list[str]:
    """Return the devices of the settings to which none of these sources belongs."""
    from services.runtime.device_directory import DeviceDirectory

    known = DeviceDirectory(settings.devices)
    return sorted(settings.devices.keys() - {known.name_of(source) for source in sources})


async def _read(settings: Settings, minutes: float) -> tuple[dict[SourceKey, SourceStats], int]:
    """Return the sources, and how many records of the late topic cannot be read."""
    from services.inspection.audit.collect import collect_since
    from services.kafka import clients
    from services.kafka.skipped_records import SkippedRecords

    topics, config, skipped = settings.topic_names(), settings.alignment_config(), SkippedRecords("devices")
    sources: dict[SourceKey, SourceStats] = {}
    unreadable = 0
    from_ms = int((time.time() - minutes * 60) * 1000)
    async with clients.reader(settings.kafka) as reader:
        for modality in topics.modalities:
            for number in range(settings.topics.partitions):
                for record in await collect_since(reader, topics.media(modality), number, from_ms, RECORDS_MAX):
                    with skipped.guard(record):
                        count_record(sources, record, modality, config)
        for number in range(settings.topics.partitions):
            for record in await collect_since(reader, topics.late, number, from_ms, RECORDS_MAX):
                key = late_source(record.value)
                if key is None:
                    unreadable += 1
                elif key in sources:
                    sources[key].late += 1
            for record in await collect_since(reader, topics.dead, number, from_ms, RECORDS_MAX):
                rejected = rejected_source(record, topics)
                if rejected is not None and rejected[0] in sources:
                    sources[rejected[0]].rejected[rejected[1]] += 1
    return sources, unreadable


def late_source(value: bytes | None) -> SourceKey | None:
    """Return session, modality and source of a record of the late topic, None for any other record."""
    from services.contract import canonical

    late = canonical.object_or_empty(value)
    session, modality, source = late.get("session"), late.get("modality"), late.get("source")
    if isinstance(session, str) and isinstance(modality, str) and isinstance(source, str):
        return session, modality, source
    return None


def rejected_source(record: KafkaRecord, topics: Topics) -> tuple[SourceKey, str] | None:
    """Return session, modality and source of a dead letter and its reason, None if it does not say them."""
    from services.contract import canonical, dead_letter

    letter, source = canonical.object_or_empty(record.value), dead_letter.record_header(record.headers, "ce_source")
    topic, reason = letter.get("topic"), letter.get("reason")
    if record.key is None or topic not in topics.media_all or not isinstance(reason, str) or source is None:
        return None
    session = record.key.decode(errors="replace")
    return (session, topics.modality_of(topic), source.decode(errors="replace")), reason


def count_record(
    sources: dict[SourceKey, SourceStats], record: KafkaRecord, modality: str, config: AlignmentConfig
) -> None:
    """Add a media record to the statistics of its source; idle and unreadable records belong to none."""
    from services.contract import cloudevents, timestamps
    from services.contract.chunk import Chunk
    from services.contract.cloudevents import Envelope
    from services.contract.source_stats import SourceStats
    from services.inspection.audit.decode_media import decode_media_record

    envelope = cloudevents.parse_envelope(record.headers, record.value)
    if record.key is None or not isinstance(envelope, Envelope):
        return
    key = record.key.decode(errors="replace"), modality, envelope.get("source")
    if envelope.get("type") == cloudevents.SESSION_END_TYPE and key in sources:
        sources[key].end(record.timestamp * 1000)
    chunk = decode_media_record(record, modality, record.partition, config)
    if isinstance(chunk, Chunk):
        recorded_us = timestamps.parse(envelope.get("recordedtime"))
        corrected_us = 0 if recorded_us is None else chunk.t_us - recorded_us
        end_us = chunk.t_us + chunk.duration_us
        if config.uses_append_time(chunk.source):
            # The clock of a source that has none is not measured.
            end_us, corrected_us = chunk.appended_us, 0
        sources.setdefault(key, SourceStats()).add(end_us, chunk.appended_us, corrected_us)
