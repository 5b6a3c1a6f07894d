"""What is found of one prediction: its record, its window, and the media that it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.contract import canonical, envelope
from services.contract import window as window_record
from services.contract.envelope import Envelope, Headers
from services.contract.prediction import muted_of
from services.contract.topics import Topics
from services.contract.window import Member, Window
from services.payloads.place import Place, place_of
from services.payloads.redis_window import Payload
from services.recordings.kept import Kept

At = tuple[str, int, int]


class BadId(ValueError):
    """What is no prediction's id; the message says what one looks like."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prediction by its id: `session/window start in ms/revision@digest`."""

    id: str
    window_id: str
    session: str
    start_us: int


@dataclass(frozen=True, slots=True)
class Input:
    """A member of the window and its record, None where that is gone or holds other bytes by now."""

    modality: str
    topic: str
    member: Member
    kept: Kept | None

    @property
    def payload(self) -> Payload | None:
        read = None if self.kept is None else envelope.unwrap(self.kept.headers, self.kept.value)
        return Payload(read.get("content-type"), read.payload) if isinstance(read, Envelope) else None


@dataclass(slots=True)
class Evidence:
    """The prediction's record; its window's, None where that is gone, and the members of that."""

    prediction: Kept
    window_record: Kept | None = None
    window: Window | None = None
    inputs: Sequence[Input] = field(default_factory=list)

    @property
    def value(self) -> bytes:
        return self.prediction.value or b""

    @property
    def headers(self) -> Headers:
        return self.prediction.headers

    @property
    def record(self) -> dict[str, Any]:
        return canonical.loads_object(self.value)

    @property
    def whole(self) -> bool:
        """True where the window and all of its members are there; what was muted was not used."""
        muted = muted_of(self.record)
        return self.window is not None and all(i.kept is not None or i.modality in muted for i in self.inputs)

    @property
    def payloads(self) -> dict[Place, Payload]:
        """The payloads that are there, as inference takes them."""
        found = ((place_of(i.modality, i.member), i.payload) for i in self.inputs)
        return {place: payload for place, payload in found if payload is not None}


def wanted(id: str) -> Wanted:
    """Read an id. Raises BadId."""
    window_id, at, _ = id.rpartition("@")
    session, *numbers = window_id.rsplit("/", 2)
    if not at or len(numbers) != 2 or not session or not numbers[0].lstrip("-").isdecimal():
        raise BadId(f"{id} is no prediction's id: one looks like kitchen/1700000000000/1@0123456789ab (`braid tail`)")
    return Wanted(id, window_id, session, int(numbers[0]) * 1000)


def is_it(kept: Kept, id: str) -> bool:
    """True for the record of this id."""
    return id_of(kept) == id


def id_of(kept: Kept) -> str | None:
    """The id that a record states, None where it states none."""
    id = canonical.object_or_empty(kept.value).get("id")
    return id if isinstance(id, str) else None


def inputs(window: Window, media: Mapping[str, str], records: Mapping[At, Kept]) -> list[Input]:
    """The members of a window with their records, by (topic, partition, offset); media: topic by modality."""
    out = []
    for modality, lane in window.modalities.items():
        for member in lane.members:
            topic = media.get(modality, "")
            kept = records.get((topic, member.partition, member.offset))
            out.append(Input(modality, topic, member, kept if kept is not None and _same(kept, member) else None))
    return out


def members(window: Window, media: Mapping[str, str]) -> set[At]:
    """Where the records of a window's members stand."""
    return {
        (media[modality], member.partition, member.offset)
        for modality, lane in window.modalities.items()
        if modality in media
        for member in lane.members
    }


def evidence_in(
    predictions: Iterable[Kept],
    windows: Iterable[Kept],
    media: Callable[[set[At]], Iterable[Kept]] | Sequence[Kept],
    topics: Topics,
    wanted: Wanted,
) -> Evidence | None:
    """What is found in records at hand, None without the prediction.

    media: records, those of the window among them, or how to get those at the places asked for.
    """
    found = next((kept for kept in predictions if is_it(kept, wanted.id)), None)
    if found is None or found.value is None:
        return None
    out = Evidence(found, next((kept for kept in windows if is_it(kept, wanted.window_id)), None))
    out.window = None if out.window_record is None else window_record.read(out.window_record.value)
    if out.window is not None:
        names = {modality: topics.media(modality) for modality in topics.modalities}
        at_hand = media(members(out.window, names)) if callable(media) else media
        out.inputs = inputs(out.window, names, {(k.topic, k.partition, k.offset): k for k in at_hand})
    return out


def _same(kept: Kept, member: Member) -> bool:
    """False where other bytes stand at the place: offsets begin anew on a new broker."""
    read = envelope.unwrap(kept.headers, kept.value)
    return isinstance(read, Envelope) and hashlib.sha256(read.payload).hexdigest() == member.sha256
