"""The logs of a simulated world: media, windows, frontiers, predictions and events."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.contract import cloudevents
from services.contract.cloudevents import Envelope
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.session_reset import GenerationStart
from services.contract.window import Window

UNIT_US = 1_000
EPOCH_US = 1_700_000_000_000_000
EPOCH_MS = EPOCH_US // 1000
MODALITIES = ("audio", "text", "video")
PCM_BYTES_PER_UNIT = 16  # 8 kHz, 16 bit: one millisecond
SHARED_CAMERA = 2
Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class SentRecord:
    """A record that a producer sends: a point of text or video, or audio with a length."""

    at: int
    modality: str
    session: str
    id: str
    t: int
    length: int = 0
    content: int = 0
    alive: bool = False
    camera: int = 0


@dataclass(frozen=True, slots=True)
class FakeRecord:
    """A record with the attributes that a consumer reads."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class Log:
    """The log of one partition: records, and offsets that hold none.

    Markers of transactions, aborted and compacted records take offsets; what lies before `begin` was deleted. A consumer
    reads up to where the open transaction begins, and ticks of the aligner may lie behind that too.
    """

    records: list[FakeRecord] = field(default_factory=list)
    begin: int = 0
    appended: int = 0
    transaction: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The last stable offset, which consumers of committed records take for the end."""
        return self.transaction[0] if self.transaction else self.appended

    def append(self, make: Callable[[int], FakeRecord], *, in_transaction: bool = False) -> None:
        """Append the record that `make` returns for its offset, perhaps as one of the open transaction."""
        if in_transaction:
            self.transaction.append(self.appended)
        self.records.append(make(self.appended))
        self.appended += 1

    def end_transaction(self, *, commit: bool) -> None:
        """Commit or abort the open transaction: a marker takes an offset, and aborted records are seen by nobody."""
        if not commit:
            self.records = [record for record in self.records if record.offset not in self.transaction]
        self.transaction = []
        self.appended += 1

    def skip(self, offsets: int) -> None:
        """Use up offsets for what no consumer sees."""
        self.appended += offsets

    def delete(self, read: int, before: int) -> None:
        """Delete the records before an offset. Those before `read`, which were read, stay for the oracle and the payloads."""
        self.records = [record for record in self.records if not read <= record.offset < before]
        self.begin = before

    def fetch(self, position: int, count: int) -> tuple[list[FakeRecord], int]:
        """Return the next records and the position after them, as a consumer does that is at `position`."""
        at = bisect_left(self.records, max(position, self.begin), key=lambda record: record.offset)
        records = [record for record in self.records[at : at + count] if record.offset < self.end]
        # A consumer passes offsets without records only once it has fetched up to them.
        return records, self.end if len(records) < count else records[-1].offset + 1

    def at(self, offset: int) -> FakeRecord:
        """Return the record at an offset, also if it was deleted after it was read."""
        return self.records[bisect_left(self.records, offset, key=lambda record: record.offset)]

    def first(self, offset: int) -> FakeRecord | None:
        """Return the first record from an offset on."""
        return next(iter(self.fetch(offset, 1)[0]), None)


def record_of(sent: SentRecord, offset: int, timestamp: int) -> FakeRecord:
    """Return the Kafka record of a sent record."""
    bodies = {
        "audio": bytes([sent.content, 1]) * (sent.length * PCM_BYTES_PER_UNIT // 2),
        "text": f"text {sent.content}".encode(),
        "video": b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03" + bytes([sent.content]) * 8,
    }
    types = {"audio": "audio/pcm;rate=8000;channels=1;format=s16le", "text": "text/plain", "video": "image/jpeg"}
    headers = cloudevents.build_headers(
        session=sent.session,
        # The last camera sends to all sessions.
        source=f"/devices/{'' if sent.camera == SHARED_CAMERA else sent.session} {sent.camera}/{sent.modality}",
        id=sent.id,
        type=cloudevents.ALIVE_TYPE if sent.alive else cloudevents.media_type(sent.modality),
        t_us=EPOCH_US + sent.t * UNIT_US,
        content_type=types[sent.modality],
    )
    return FakeRecord(offset, timestamp, sent.session.encode(), b"" if sent.alive else bodies[sent.modality], headers)


@dataclass(frozen=True, slots=True)
class PublishedPrediction:
    """A prediction in its topic: append time, value and headers."""

    timestamp: int
    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class Broker:
    """One partition of every topic, and a Redis that may be wiped at any time.

    windows: append time in ms and record; late, dead: places in the media logs; events: final ones. moments: for
    each window the number of commits that had been made when it first came; commits: all floors that were committed.
    """

    media: dict[str, Log] = field(default_factory=lambda: {m: Log() for m in MODALITIES})
    windows: list[tuple[int, Window]] = field(default_factory=list)
    late: set[tuple[str, int]] = field(default_factory=set)
    dead: dict[tuple[str, int], str] = field(default_factory=dict)
    frontiers: dict[bytes, LastEmittedWindow] = field(default_factory=dict)
    generations: dict[bytes, GenerationStart] = field(default_factory=dict)
    committed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))
    predictions: list[PublishedPrediction] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    predicted_to: int = 0
    redis: dict[Place, bytes] = field(default_factory=dict)
    commits: list[dict[str, int]] = field(default_factory=list)
    moments: dict[tuple[str, int], int] = field(default_factory=dict)

    def ends(self) -> dict[str, int]:
        return {modality: log.end for modality, log in self.media.items()}

    def append_window(self, timestamp: int, window: Window) -> None:
        self.windows.append((timestamp, window))
        if window.final:
            self.moments.setdefault((window.generation_id, window.start_us), len(self.commits))

    def commit(self, floors: dict[str, int]) -> None:
        """Commit the offsets of the owner; they never go back."""
        self.committed = {m: max(floors[m], self.committed[m]) for m in MODALITIES}
        self.commits.append(self.committed)

    def payload(self, place: Place) -> bytes:
        """Return a payload from Redis, or from the log if Redis lost it."""
        if place in self.redis:
            return self.redis[place]
        record = self.media[place[0]].at(place[2])
        assert record.offset == place[2]
        read = cloudevents.parse_envelope(record.headers, record.value)
        assert isinstance(read, Envelope)
        return read.payload
