"""What the devices of a benchmark send: 13 records per session and second of event time, some late, repeated or broken.

Pure and repeatable: the same load and seed give the same records at the same moments, whoever aligns them.
"""

from __future__ import annotations

import io
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from model.data.shards import find_file, list_files
from services.contract import cloudevents
from services.contract.partitioner import partition_of
from services.contract.record import Headers

BROKEN_HEADER = "x-broken"  # on records that admission must refuse
SECOND_MS = 1_000
PER_SECOND = {"audio": 10, "video": 2, "text": 1}
EVENTS_PER_SESSION_SECOND = sum(PER_SECOND.values())
TYPES = {"audio": "audio/pcm;rate=16000;channels=1;format=s16le", "video": "image/jpeg", "text": "text/plain"}
JPEG = b"\xff\xd8\xff\xc0\x00\x11\x08\x01\x68\x02\x80\x03"
BODIES = 64
LATE_MS = (400, 4_000)
COPY_MS = (50, 500)
WAY_MS = (5, 60)
PHOTOS = Path(__file__).parents[1] / "data" / "tridigit" / "hand"
# At this quality a photo blown up to a camera's frame has 6.6 KB.
FRAME, QUALITY = (640, 360), 35


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """How many sessions, for how long (s of event time), with payloads of which size, and how much of it is bad.

    photos: pictures are photos of the shipped data, for whoever decodes them; frames: those blown up to 640 x 360;
    life_s: a session ends after so long and another takes its place (0: never).
    """

    sessions: int
    seconds: float
    small: bool = False
    photos: bool = False
    frames: bool = False
    life_s: float = 0
    late: float = 0.05
    copies: float = 0.01
    broken: float = 0.001
    seed: int = 1
    prefix: str = "home"

    @property
    def events_per_s(self) -> float:
        return self.sessions * EVENTS_PER_SESSION_SECOND * (1 + self.copies)


class ScheduledRecord(NamedTuple):
    """One record: when it leaves (ms since the begin of the load), its modality, partition, key, headers and value."""

    at_ms: int
    modality: str
    partition: int
    key: bytes
    headers: Headers
    value: bytes


def make_payloads(load: DeviceLoad) -> dict[str, list[bytes]]:
    """Payloads by modality: 3.2 KB of sound (100 ms), pictures of 6.5 KB and a sentence; or 200 bytes of each."""
    rng = random.Random(load.seed)
    sound, picture = (200, 200) if load.small else (3_200, 6_500)
    made = {
        "audio": [rng.randbytes(sound) for _ in range(BODIES)],
        "video": [JPEG + rng.randbytes(picture - len(JPEG)) for _ in range(BODIES)],
        "text": [f"sentence {n} ".encode() * (16 if load.small else 8) for n in range(BODIES)],
    }
    if load.photos or load.frames:
        photos = [find_file(path).read_bytes() for path in list_files(PHOTOS)[:BODIES]]
        made["video"] = [_frame(photo) for photo in photos] if load.frames else photos
    return made


def _frame(photo: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(photo)).resize(FRAME, Image.Resampling.BICUBIC).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def schedule_records(load: DeviceLoad, epoch_ms: int, partition_count: int) -> Iterator[list[ScheduledRecord]]:
    """The records that leave in each 10 ms after epoch_ms (event time of the first one), in order.

    Chunks begin on a grid of 100 ms, so that none crosses the edge of a window: who takes sound for a point in time
    finds the same members. A late record is held back by 0.4 to 4 s: some of its windows may be open still.
    """
    rng = random.Random(load.seed)
    made = make_payloads(load)
    phases = [rng.randrange(10) * 100 for _ in range(load.sessions)]
    life = int(load.life_s * 10)
    due: dict[int, list[ScheduledRecord]] = defaultdict(list)
    slots = int(load.seconds * 10)
    for slot in range(slots + LATE_MS[1] // 100 + 10):
        if slot == 0 or (life and slot % life == 0):
            ending = f"-{slot // life}" if life else ""
            names = [f"{load.prefix}-{n}{ending}" for n in range(load.sessions)]
            partitions = [partition_of(name.encode(), partition_count) for name in names]
        if slot < slots:
            for n, name in enumerate(names):
                for modality in _at(slot * 100 + phases[n]):
                    _add(due, load, rng, made, epoch_ms, slot, name, partitions[n], modality)
        for tick in range(slot * 10, slot * 10 + 10):
            yield due.pop(tick, [])


def _at(ms: int) -> Iterator[str]:
    """Which modalities have a record at this moment of a session."""
    yield "audio"
    if ms % 500 == 200:
        yield "video"
    if ms % 1_000 == 700:
        yield "text"


def _add(
    due: dict[int, list[ScheduledRecord]],
    load: DeviceLoad,
    rng: random.Random,
    made: dict[str, list[bytes]],
    epoch_ms: int,
    slot: int,
    name: str,
    partition: int,
    modality: str,
) -> None:
    at_ms = slot * 100 + (100 if modality == "audio" else 0) + rng.randint(*WAY_MS)
    if rng.random() < load.late:
        at_ms += rng.randint(*LATE_MS)
    headers = cloudevents.build(
        session=name,
        source=f"/devices/{name}/{modality}",
        id=str(slot),
        type=cloudevents.media_type(modality),
        t_us=(epoch_ms + slot * 100) * 1000,
        content_type=TYPES[modality],
    )
    value = rng.choice(made[modality])
    if rng.random() < load.broken:
        headers = [(key, b"yesterday" if key == "ce_time" else text) for key, text in headers]
        headers.append((BROKEN_HEADER, b"1"))
    one = ScheduledRecord(at_ms, modality, partition, name.encode(), headers, value)
    due[at_ms // 10].append(one)
    if rng.random() < load.copies:
        again_ms = at_ms + rng.randint(*COPY_MS)
        due[again_ms // 10].append(one._replace(at_ms=again_ms))
