"""`braid devices`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.contract.record import KafkaRecord
    from services.contract.source_stats import SourceStats

RECORDS_MAX = 20_000
Key = tuple[str, str, str]


def devices(
    minutes: Annotated[float, typer.Option(help="How far back to look.", min=0.1, max=1440)] = 10,
    json: output.Json = False,
) -> None:
    """Each source: when it was last heard, how often it sends, its share of late records, its clock; which are silent.

    The offset is the smallest of arrival minus the end of what was captured: the shortest way plus how far its clock is
    behind the broker's. One far below the others' has a clock that runs ahead. What `devices` in the settings has added
    to it already is told beside it.
    """
    settings = load()
    if not settings.kafka.bootstrap_servers:
        output.no_broker()
    found, strange = asyncio.run(_look(settings, minutes))
    now_us = time.time_ns() // 1000
    silent_us = settings.gateway.silent_s * 1_000_000
    rows = [
        {"session": session, "modality": modality, "source": source, **stats.as_json(now_us, silent_us)}
        for (session, modality, source), stats in sorted(found.items(), key=lambda item: item[0])
    ]
    unheard = _unheard(settings, {row["source"] for row in rows})
    if json:
        output.result({"devices": rows, "not_heard": unheard, "unreadable_late": strange})
        return
    for row in rows:
        corrected = f" (corrected by {row['clock_corrected_ms']:+d} ms)" if row["clock_corrected_ms"] else ""
        print(
            f"{row['session']:16} {row['source']:28} {row['modality']:6} {_heard(row):32} {row['rate_hz']:6.2f}/s  "
            f"clock {row['clock_offset_ms']:+6d} ms{corrected}  late {row['late_share']:.1%}"
        )
    for name in unheard:
        print(f"{name}: known to the settings, not heard in the last {minutes:g} minutes")
    if strange:
        print(f"{strange} records of the late topic say nothing of a late chunk: `braid inspect late` shows them")
    if not rows:
        print(f"no source was heard in the last {minutes:g} minutes")


def _heard(row: dict[str, Any]) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(row["last_seen_us"] / 1e6))
    if row["ended"]:
        return f"ended {at}"
    return f"SILENT since {at}" if row["silent_since_us"] else f"last {row['last_seen_s']:7.1f} s ago"


def _unheard(settings: Settings, heard: set[str]) -> list[str]:
    """The devices of the settings that none of these sources is."""
    from services.runtime.devices import DeviceDirectory

    known = DeviceDirectory(settings.devices)
    return sorted(settings.devices.keys() - {known.name_of(source) for source in heard})


async def _look(settings: Settings, minutes: float) -> tuple[dict[Key, SourceStats], int]:
    """The sources, and how many records of the late topic are none of ours."""
    from services.inspection.audit.collect import collect_since
    from services.kafka import clients

    topics = settings.topic_names()
    found: dict[Key, SourceStats] = {}
    strange = 0
    from_ms = int((time.time() - minutes * 60) * 1000)
    async with clients.reader(settings.kafka) as reader:
        for modality in topics.modalities:
            for number in range(settings.topics.partitions):
                for raw in await collect_since(reader, topics.media(modality), number, from_ms, RECORDS_MAX):
                    count_record(found, raw, modality)
        for number in range(settings.topics.partitions):
            for raw in await collect_since(reader, topics.late, number, from_ms, RECORDS_MAX):
                late = late_of(raw.value)
                if late is None:
                    strange += 1
                elif late in found:
                    found[late].late += 1
    return found, strange


def late_of(value: bytes | None) -> Key | None:
    """Whose chunk a record of the late topic says was late, None where it says nothing of one."""
    from services.contract import canonical

    late = canonical.object_or_empty(value)
    session, modality, source = late.get("session"), late.get("modality"), late.get("source")
    if isinstance(session, str) and isinstance(modality, str) and isinstance(source, str):
        return session, modality, source
    return None


def count_record(found: dict[Key, SourceStats], record: KafkaRecord, modality: str) -> None:
    """Add a media record to the statistics of its source; idle and unreadable records belong to none."""
    from services.contract import cloudevents, timestamps
    from services.contract.chunk import Chunk
    from services.contract.cloudevents import Envelope
    from services.contract.source_stats import SourceStats
    from services.inspection.audit.records import decode_media_record

    envelope = cloudevents.parse_envelope(record.headers, record.value)
    if record.key is None or not isinstance(envelope, Envelope):
        return
    key = record.key.decode(errors="replace"), modality, envelope.get("source")
    if envelope.get("type") == cloudevents.SESSION_END_TYPE and key in found:
        found[key].end(record.timestamp * 1000)
    chunk = decode_media_record(record, modality, record.partition)
    if isinstance(chunk, Chunk):
        recorded_us = timestamps.parse(envelope.get("recordedtime"))
        corrected_us = 0 if recorded_us is None else chunk.t_us - recorded_us
        found.setdefault(key, SourceStats()).add(chunk.t_us + chunk.duration_us, chunk.appended_us, corrected_us)
