"""`braid devices`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import Settings, load

RECORDS_MAX = 20_000
Key = tuple[str, str, str]


@dataclass(slots=True)
class Device:
    """What the logs tell of one source; times in us. ended_us: when it said that it will send no more."""

    session: str
    modality: str
    records: int = 0
    late: int = 0
    first_us: int = 0
    last_us: int = 0
    offset_us: int = 0
    corrected_us: int = 0
    ended_us: int = 0


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
    rows = [_row(source, d, now_us, settings.gateway.silent_s) for (_, _, source), d in sorted(found.items())]
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


def _row(source: str, d: Device, now_us: int, silent_s: int) -> dict[str, Any]:
    ended = d.ended_us >= d.last_us
    silent = not ended and now_us - d.last_us >= silent_s * 1_000_000
    return {
        "source": source,
        "session": d.session,
        "modality": d.modality,
        "records": d.records,
        "last_seen_us": d.last_us,
        "last_seen_s": round((now_us - d.last_us) / 1e6, 1),
        "silent_since_us": d.last_us if silent else None,
        "ended": ended,
        "rate_hz": round((d.records - 1) * 1e6 / max(d.last_us - d.first_us, 1), 2) if d.records > 1 else 0.0,
        "clock_offset_ms": round(d.offset_us / 1000),
        "clock_corrected_ms": round(d.corrected_us / 1000),
        "late_share": round(d.late / d.records, 3),
    }


def _heard(row: dict[str, Any]) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(row["last_seen_us"] / 1e6))
    if row["ended"]:
        return f"ended {at}"
    return f"SILENT since {at}" if row["silent_since_us"] else f"last {row['last_seen_s']:7.1f} s ago"


def _unheard(settings: Settings, heard: set[str]) -> list[str]:
    """The devices of the settings that none of these sources is."""
    from services.integrations.devices import DeviceDirectory

    known = DeviceDirectory(settings.devices)
    return sorted(settings.devices.keys() - {known.name_of(source) for source in heard})


async def _look(settings: Settings, minutes: float) -> tuple[dict[Key, Device], int]:
    """The sources, and how many records of the late topic are none of ours."""
    from services.inspection.audit.collect import collect_since
    from services.kafka import clients

    topics = settings.topic_names()
    found: dict[Key, Device] = {}
    strange = 0
    from_ms = int((time.time() - minutes * 60) * 1000)
    async with clients.reader(settings.kafka) as reader:
        for modality in topics.modalities:
            for number in range(settings.topics.partitions):
                for raw in await collect_since(reader, topics.media(modality), number, from_ms, RECORDS_MAX):
                    _count(found, raw, modality, number)
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


def _count(found: dict[Key, Device], raw: Any, modality: str, number: int) -> None:
    from services.contract import cloudevents, timestamps
    from services.contract.chunk import Chunk
    from services.contract.cloudevents import Envelope
    from services.inspection.audit.records import decode_media_record

    stated = cloudevents.unwrap(raw.headers, raw.value)
    if raw.key is None or not isinstance(stated, Envelope):
        return
    key = raw.key.decode(errors="replace"), modality, stated.get("source")
    if stated.get("type") == cloudevents.SESSION_END_TYPE and key in found:
        found[key].ended_us = raw.timestamp * 1000
    chunk = decode_media_record(raw, modality, number)
    if not isinstance(chunk, Chunk):
        return
    offset_us = chunk.appended_us - chunk.t_us - chunk.duration_us
    d = found.setdefault(key, Device(chunk.session, modality, 0, 0, chunk.appended_us, 0, offset_us))
    d.records += 1
    d.last_us = max(d.last_us, chunk.appended_us)
    d.offset_us = min(d.offset_us, offset_us)
    recorded_us = timestamps.parse(stated.get("recordedtime"))
    d.corrected_us = 0 if recorded_us is None else chunk.t_us - recorded_us
