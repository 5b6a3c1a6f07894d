"""`braid devices`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated

import typer

from services.cli import say
from services.runtime.settings import Settings, load

RECORDS_MAX = 20_000


@dataclass(slots=True)
class Device:
    """What the logs tell of one source; times in us."""

    session: str
    modality: str
    records: int = 0
    late: int = 0
    first_us: int = 0
    last_us: int = 0
    offset_us: int = 0


def devices(
    minutes: Annotated[float, typer.Option(help="How far back to look.", min=0.1, max=1440)] = 10,
    json: say.Json = False,
) -> None:
    """Each source: when it was last heard, how often it sends, its share of late records, and its clock's offset.

    The offset is the smallest of arrival minus the end of what was captured: the shortest way plus how far its clock is
    behind the broker's. One far below the others' has a clock that runs ahead.
    """
    settings = load()
    if not settings.kafka.bootstrap_servers:
        say.no_broker()
    found = asyncio.run(_look(settings, minutes))
    rows = [
        {
            "source": source,
            "session": d.session,
            "modality": d.modality,
            "records": d.records,
            "last_seen_s": round(time.time() - d.last_us / 1e6, 1),
            "rate_hz": round((d.records - 1) * 1e6 / max(d.last_us - d.first_us, 1), 2) if d.records > 1 else 0.0,
            "clock_offset_ms": round(d.offset_us / 1000),
            "late_share": round(d.late / d.records, 3),
        }
        for (_, _, source), d in sorted(found.items())
    ]
    if json:
        say.result(rows)
        return
    for row in rows:
        print(
            f"{row['session']:16} {row['source']:28} {row['modality']:6} last {row['last_seen_s']:7.1f} s ago  "
            f"{row['rate_hz']:6.2f}/s  clock {row['clock_offset_ms']:+6d} ms  late {row['late_share']:.1%}"
        )
    if not rows:
        print(f"no source was heard in the last {minutes:g} minutes")


async def _look(settings: Settings, minutes: float) -> dict[tuple[str, str, str], Device]:
    from services.audit.collect import since
    from services.audit.reading import read
    from services.contract import canonical
    from services.contract.chunk import Chunk
    from services.runtime import kafka

    topics = settings.topic_names()
    found: dict[tuple[str, str, str], Device] = {}
    from_ms = int((time.time() - minutes * 60) * 1000)
    async with kafka.reader(settings.kafka) as reader:
        for modality in topics.modalities:
            for number in range(settings.topics.partitions):
                for raw in await since(reader, topics.media(modality), number, from_ms, RECORDS_MAX):
                    chunk = read(raw, modality, number)
                    if not isinstance(chunk, Chunk):
                        continue
                    key = chunk.session, modality, chunk.source
                    offset_us = chunk.appended_us - chunk.t_us - chunk.duration_us
                    d = found.setdefault(key, Device(chunk.session, modality, 0, 0, chunk.appended_us, 0, offset_us))
                    d.records += 1
                    d.last_us = max(d.last_us, chunk.appended_us)
                    d.offset_us = min(d.offset_us, offset_us)
        for number in range(settings.topics.partitions):
            for raw in await since(reader, topics.late, number, from_ms, RECORDS_MAX):
                late = canonical.loads_object(raw.value or b"")
                known = found.get((late["session"], late["modality"], late["source"]))
                if known is not None:
                    known.late += 1
    return found
