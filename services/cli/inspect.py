"""`braid inspect`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.contract.record import KafkaRecord
    from services.contract.topics import Topics

SCANNED_MAX = 20_000


def inspect(
    topic: Annotated[str, typer.Argument(help="A topic, or its short name: video, windows, predictions, dead, …")],
    count: Annotated[int, typer.Option(help="How many of the newest records.", min=1, max=10_000)] = 20,
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write pictures, sound and text as files into this folder.")] = None,
    recording: Annotated[Path | None, typer.Option(help="Look into this recording and not at the broker.")] = None,
    json: output.Json = False,
) -> None:
    """The newest records of a topic, readable: headers, JSON values, the size of pictures, the length of sound.

    Of a broker's topics what was forgotten and media of muted senses are not shown; how many is said.
    """
    from services.offline.recording.metadata import RecordingError
    from services.offline.recording.render import media_file, readable, readable_line

    settings = load()
    try:
        found = _newest(settings, topic, count, session, recording)
    except RecordingError as error:
        output.fail(str(error), 2)
    rows = [readable(kept) for kept in found]
    saved = 0
    if save is not None:
        try:
            save.mkdir(parents=True, exist_ok=True)
            for kept, row in zip(found, rows, strict=True):
                file = media_file(kept)
                if file is not None:
                    (save / file[0]).write_bytes(file[1])
                    row["saved"] = str(save / file[0])
                    saved += 1
        except OSError as error:
            output.fail(f"{save} cannot be written: {error.strerror}")
    if json:
        output.result(rows)
        return
    for row in rows:
        print(readable_line(row))
    if save is not None:
        print(f"{saved} files in {save}")
    if not rows:
        print("no records")


def _newest(
    settings: Settings, name: str, count: int, session: str | None, recording: Path | None
) -> Sequence[KafkaRecord]:
    """The newest records, oldest first."""
    from collections import deque

    key = None if session is None else session.encode()
    if recording is not None:
        from services.offline.recording.reader import RecordingFile
        from services.offline.replay.settings import with_overrides

        file = RecordingFile(recording)
        topic = _topic(with_overrides(file.metadata).topics, name)
        return list(deque((k for k in file.records(topic) if key is None or k.key == key), count))
    if not settings.kafka.bootstrap_servers:
        output.no_broker()
    topic = _topic(settings.topic_names(), name)
    found = asyncio.run(_from_broker(settings, topic, count, key))
    return sorted(found, key=lambda k: (k.timestamp, k.partition, k.offset))[-count:]


def _topic(topics: Topics, name: str) -> str:
    short = {modality: topics.media(modality) for modality in topics.modalities}
    short |= {
        "windows": topics.windows,
        "predictions": topics.predictions,
        "events": topics.events,
        "late": topics.late,
        "dead": topics.dead,
        "frontier": topics.frontier,
        "control": topics.control,
    }
    if name not in short and name not in short.values():
        output.fail(f"there is no topic {name}; short names are {', '.join(short)}", 2)
    return short.get(name, name)


async def _from_broker(settings: Settings, topic: str, count: int, key: bytes | None) -> list[KafkaRecord]:
    from aiokafka import TopicPartition

    from services.contract.control import is_hidden
    from services.contract.partitioner import partition_of
    from services.contract.record import KafkaRecord
    from services.kafka import clients
    from services.kafka.control_topic import ControlTopic
    from services.kafka.log_reader import read_range

    topics, partitions, hidden = settings.topic_names(), settings.topics.partitions, 0
    numbers = range(partitions) if key is None else [partition_of(key, partitions)]
    # Of one session the newest may stand far behind those of others.
    scanned = count if key is None else SCANNED_MAX
    found: list[KafkaRecord] = []
    async with ControlTopic.from_settings(settings) as controls, clients.reader(settings.kafka) as reader:
        logs = [TopicPartition(topic, number) for number in numbers]
        ends = await reader.end_offsets(logs)
        for log in logs:
            async for r in read_range(reader, log, max(ends[log] - scanned, 0), ends[log]):
                if key is not None and r.key != key:
                    continue
                if is_hidden(controls.for_session, topics, topic, r.key, r.headers, r.value, r.timestamp * 1000):
                    hidden += 1
                    continue
                found.append(KafkaRecord.copy_of(r))
    if hidden:
        print(f"braid: {hidden} records are not shown: forgotten, or of a muted sense", file=sys.stderr)
    return found
