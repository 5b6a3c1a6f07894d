"""`braid inspect`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.contract.kafka_record import KafkaRecord
    from services.contract.signature import Signer
    from services.contract.topics import Topics

SCANNED_MAX = 20_000


def inspect(
    topic: Annotated[str, typer.Argument(help="A topic, or its short name: video, windows, predictions, dead, …")],
    count: Annotated[int, typer.Option(help="The number of newest records to show.", min=1, max=10_000)] = 20,
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write images, audio and text as files into this folder.")] = None,
    recording: Annotated[Path | None, typer.Option(help="Read this recording instead of the topics.")] = None,
    json: output.Json = False,
) -> None:
    """Print the newest records of a topic: headers, JSON values, the size of images, the length of audio.

    Forgotten sessions and media of muted inputs are counted and not shown, except in a recording. Records that only a
    service may write and that none has signed are marked FORGED.
    """
    from services.kafka.skipped_records import SkippedRecords
    from services.offline.recording.readable_records import media_file, readable, readable_line

    settings = load()
    newest, signer = _newest(settings, topic, count, session, recording)
    if newest and not signer.secrets:
        output.note_unverified(str(recording or "the topics"))
    skipped = SkippedRecords("inspect")
    records: list[KafkaRecord] = []
    rows = []
    for record in newest:
        with skipped.guard(record):
            rows.append(readable(record, forged=signer.is_forged(record)))
            records.append(record)
    saved = 0
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        for record, row in zip(records, rows, strict=True):
            file = media_file(record)
            if file is not None:
                (save / file[0]).write_bytes(file[1])
                row["saved"] = str(save / file[0])
                saved += 1
    if json:
        output.print_json(rows)
        return
    for row in rows:
        print(readable_line(row))
    if save is not None:
        print(f"{saved} files in {save}")
    if not rows:
        print("no records")


def _newest(
    settings: Settings, name: str, count: int, session: str | None, recording: Path | None
) -> tuple[Sequence[KafkaRecord], Signer]:
    """Return the newest records, oldest first, and what verifies them."""
    key = None if session is None else session.encode()
    if recording is not None:
        from services.offline.recording.reader import RecordingFile
        from services.offline.replay.settings import with_overrides

        file = RecordingFile(recording, settings.kafka.signer())
        topic = _topic(with_overrides(file.metadata).topics, name)
        read = file.records(topic, with_forged=True)
        return list(deque((record for record in read if key is None or record.key == key), count)), file.signer
    settings.require_broker()
    topic = _topic(settings.topic_names(), name)
    records = asyncio.run(_from_broker(settings, topic, count, key))
    newest = sorted(records, key=lambda record: (record.timestamp, record.partition, record.offset))[-count:]
    return newest, settings.kafka.signer()


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
        raise output.UsageError(f"There is no topic {name}.", f"The short names are {', '.join(short)}.")
    return short.get(name, name)


async def _from_broker(settings: Settings, topic: str, count: int, key: bytes | None) -> list[KafkaRecord]:
    from aiokafka import TopicPartition

    from services.contract.kafka_record import KafkaRecord
    from services.contract.mute_and_forget import is_hidden
    from services.contract.partitioner import partition_of
    from services.kafka import clients
    from services.kafka.control_topic import ControlTopic
    from services.kafka.log_reader import read_newest
    from services.kafka.skipped_records import SkippedRecords

    topics, partitions, hidden = settings.topic_names(), settings.topics.partitions, 0
    skipped = SkippedRecords("inspect")
    numbers = range(partitions) if key is None else [partition_of(key, partitions)]
    # The newest records of one session may lie far behind those of other sessions.
    scanned = count if key is None else SCANNED_MAX
    records: list[KafkaRecord] = []
    async with (
        ControlTopic.from_settings(settings) as controls,
        clients.reader(settings.kafka, with_forged=True) as reader,
    ):
        logs = [TopicPartition(topic, number) for number in numbers]
        for log in logs:
            for r in await read_newest(reader, log, scanned, within=SCANNED_MAX):
                if key is not None and r.key != key:
                    continue
                with skipped.guard(r):
                    if is_hidden(controls.for_session, topics, topic, r.key, r.headers, r.value, r.timestamp * 1000):
                        hidden += 1
                        continue
                    records.append(KafkaRecord.copy_of(r))
    if hidden:
        output.note(f"{hidden} records are not shown: their session was forgotten, or their modality is muted")
    return records
