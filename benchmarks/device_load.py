"""The records that simulated devices send: 13 per session and second of event time, some late, repeated or broken.

The same load and seed give the same records at the same moments.
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
from services.contract.kafka_record import Headers
from services.contract.partitioner import partition_of

BROKEN_HEADER = "x-broken"  # marks records that admission must reject
SECOND_MS = 1_000
PER_SECOND = {"audio": 10, "video": 2, "text": 1}
EVENTS_PER_SESSION_SECOND = sum(PER_SECOND.values())
TYPES = {"audio": "audio/pcm;rate=16000;channels=1;format=s16le", "video": "image/jpeg", "text": "text/plain"}
JPEG = b"\xff\xd8\xff\xc0\x00\x11\x08\x01\x68\x02\x80\x03"
PAYLOADS_PER_MODALITY = 64
LATE_BY_MS = (400, 4_000)
REPEAT_AFTER_MS = (50, 500)
NETWORK_DELAY_MS = (5, 60)
PHOTOS = Path(__file__).parents[1] / "data" / "tridigit" / "hand"
# At this quality a photo scaled up to 640 x 360 has 6.6 KB.
FRAME_SIZE, QUALITY = (640, 360), 35


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """The size, length and faults of a load.

    Attributes:
        sessions: Sessions at a time.
        seconds: Length in event time.
        small: Payloads of 200 bytes instead of 3.2 to 6.5 KB.
        photos: Frames are photos of the shipped data, which can be decoded.
        frames: Frames are those photos, scaled up to 640 x 360.
        life_s: Lifetime of a session, after which another replaces it (0: unlimited).
        late: Share of records that are 0.4 to 4 s late.
        copies: Share of records that are sent twice.
        broken: Share of records with an invalid header.
        seed: Seed of all random choices.
        prefix: First part of the session names.
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
        """The rate at which records arrive."""
        return self.sessions * EVENTS_PER_SESSION_SECOND * (1 + self.copies)


class ScheduledRecord(NamedTuple):
    """One record and the moment at which it is sent, in ms since the begin of the load."""

    at_ms: int
    modality: str
    partition: int
    key: bytes
    headers: Headers
    value: bytes


def make_payloads(load: DeviceLoad) -> dict[str, list[bytes]]:
    """Make payloads of each modality: 3.2 KB of audio (100 ms), frames of 6.5 KB and a sentence; or 200 bytes each."""
    rng = random.Random(load.seed)
    audio_bytes, frame_bytes = (200, 200) if load.small else (3_200, 6_500)
    payloads = {
        "audio": [rng.randbytes(audio_bytes) for _ in range(PAYLOADS_PER_MODALITY)],
        "video": [JPEG + rng.randbytes(frame_bytes - len(JPEG)) for _ in range(PAYLOADS_PER_MODALITY)],
        "text": [f"sentence {n} ".encode() * (16 if load.small else 8) for n in range(PAYLOADS_PER_MODALITY)],
    }
    if load.photos or load.frames:
        photos = [find_file(path).read_bytes() for path in list_files(PHOTOS)[:PAYLOADS_PER_MODALITY]]
        payloads["video"] = [_scale_up(photo) for photo in photos] if load.frames else photos
    return payloads


def _scale_up(photo: bytes) -> bytes:
    frame = io.BytesIO()
    Image.open(io.BytesIO(photo)).resize(FRAME_SIZE, Image.Resampling.BICUBIC).save(frame, "JPEG", quality=QUALITY)
    return frame.getvalue()


def schedule_records(load: DeviceLoad, epoch_ms: int, partition_count: int) -> Iterator[list[ScheduledRecord]]:
    """Yield the records sent in each 10 ms after `epoch_ms`, which is also the event time of the first one.

    Chunks begin on a grid of 100 ms, so that none crosses the edge of a window: a system that treats audio as a point
    in time finds the same members. A late record is delayed by 0.4 to 4 s: some of its windows may still be open.
    """
    rng = random.Random(load.seed)
    payloads = make_payloads(load)
    phases = [rng.randrange(10) * 100 for _ in range(load.sessions)]
    life_slots = int(load.life_s * 10)
    due: dict[int, list[ScheduledRecord]] = defaultdict(list)
    slots = int(load.seconds * 10)
    for slot in range(slots + LATE_BY_MS[1] // 100 + 10):
        if slot == 0 or (life_slots and slot % life_slots == 0):
            generation = f"-{slot // life_slots}" if life_slots else ""
            names = [f"{load.prefix}-{n}{generation}" for n in range(load.sessions)]
            partitions = [partition_of(name.encode(), partition_count) for name in names]
        if slot < slots:
            for n, name in enumerate(names):
                for modality in _modalities_at(slot * 100 + phases[n]):
                    _add(due, load, rng, payloads, epoch_ms, slot, name, partitions[n], modality)
        for tick in range(slot * 10, slot * 10 + 10):
            yield due.pop(tick, [])


def _modalities_at(ms: int) -> Iterator[str]:
    """Yield the modalities that have a record at this moment of a session."""
    yield "audio"
    if ms % 500 == 200:
        yield "video"
    if ms % 1_000 == 700:
        yield "text"


def _add(
    due: dict[int, list[ScheduledRecord]],
    load: DeviceLoad,
    rng: random.Random,
    payloads: dict[str, list[bytes]],
    epoch_ms: int,
    slot: int,
    name: str,
    partition: int,
    modality: str,
) -> None:
    at_ms = slot * 100 + (100 if modality == "audio" else 0) + rng.randint(*NETWORK_DELAY_MS)
    if rng.random() < load.late:
        at_ms += rng.randint(*LATE_BY_MS)
    headers = cloudevents.build_headers(
        session=name,
        source=f"/devices/{name}/{modality}",
        id=str(slot),
        type=cloudevents.media_type(modality),
        t_us=(epoch_ms + slot * 100) * 1000,
        content_type=TYPES[modality],
    )
    value = rng.choice(payloads[modality])
    if rng.random() < load.broken:
        headers = [(key, b"yesterday" if key == "ce_time" else text) for key, text in headers]
        headers.append((BROKEN_HEADER, b"1"))
    record = ScheduledRecord(at_ms, modality, partition, name.encode(), headers, value)
    due[at_ms // 10].append(record)
    if rng.random() < load.copies:
        repeated_ms = at_ms + rng.randint(*REPEAT_AFTER_MS)
        due[repeated_ms // 10].append(record._replace(at_ms=repeated_ms))
