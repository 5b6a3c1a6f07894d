"""The lanes of one session: pictures, sound, words, answers. Pure: time comes in with the records."""

from __future__ import annotations

import array
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.labels import NOTHING
from services.contract import envelope, moment
from services.contract.envelope import Envelope
from services.contract.media import sound
from services.contract.media.sound import Sound

COLUMN_US = 500_000
ITEMS_MAX = 600
SAMPLES_MAX = 400
LEVELS = " ▁▂▃▄▅▆▇█"
STATES = {"present": "█", "absent": "·", "unknown": "?", "unusable": "x", "muted": "m", "skipped": "s"}
WORDS_MAX = 24
LOUD = 12_000


@dataclass(frozen=True, slots=True)
class Item:
    """One chunk: when (us of event time), how long, and how it is drawn: a sign, a level of 1-8, or words."""

    t_us: int
    duration_us: int
    drawn: str


@dataclass(frozen=True, slots=True)
class Said:
    """One answer to a window, and the mask of its senses."""

    start_us: int
    end_us: int
    label: str
    confidence: float
    states: Mapping[str, str]


@dataclass(slots=True)
class Lanes:
    """What came of a session lately; what is older than can be drawn is let go of."""

    session: str
    chunks: dict[str, deque[Item]] = field(default_factory=dict)
    first: deque[Said] = field(default_factory=lambda: deque(maxlen=ITEMS_MAX))
    final: deque[Said] = field(default_factory=lambda: deque(maxlen=ITEMS_MAX))
    latest: Mapping[str, Any] | None = None
    event: Mapping[str, Any] | None = None
    newest_us: int = 0

    def chunk(self, modality: str, headers: envelope.Headers, value: bytes | None, appended_us: int) -> None:
        """Take a media record; what cannot be read, and what claims to be of the future, is passed over."""
        read = envelope.unwrap(headers, value)
        t_us = moment.parse(read.get("time")) if isinstance(read, Envelope) else None
        if not isinstance(read, Envelope) or t_us is None or t_us > appended_us + COLUMN_US:
            return
        if read.get("type") != envelope.media_type(modality):
            return
        duration_us, drawn = 0, "▪"
        if modality == "audio":
            length = sound.measure(read.get("content-type"), read.payload) if _is_sound(read) else None
            if not isinstance(length, Sound):
                return
            duration_us, drawn = length.duration_us, str(_level(read.payload, length))
        elif modality == "text":
            drawn = _clean(read.payload.decode(errors="replace"))[:WORDS_MAX]
        self.chunks.setdefault(modality, deque(maxlen=ITEMS_MAX)).append(Item(t_us, duration_us, drawn))
        self.newest_us = max(self.newest_us, t_us + duration_us)

    def answer(self, record: Mapping[str, Any]) -> None:
        """Take a prediction record."""
        states = {name: sense["state"] for name, sense in record["modalities"].items()}
        window = record["window"]
        said = Said(window["start"], window["end"], _clean(str(record["label"])), record["confidence"], states)
        (self.final if record["final"] else self.first).append(said)
        self.newest_us = max(self.newest_us, said.end_us)
        self.latest = record

    def draw(self, columns: int, modalities: Sequence[str]) -> list[str]:
        """The lanes over the last `columns` half seconds up to the newest record; each line of equal width."""
        end = self.newest_us // COLUMN_US + 1
        begin = end - columns
        lines = [_line(m, _chunks(self.chunks.get(m, ()), m, begin, columns)) for m in modalities]
        lines += [_line(f"{m} mask", _mask(self.final, m, begin, columns)) for m in modalities]
        lines.append(_line("first", _answers(self.first, begin, columns)))
        lines.append(_line("final", _answers(self.final, begin, columns)))
        return lines

    @property
    def told(self) -> str:
        """The newest answer and event in words."""
        p, e, parts = self.latest, self.event, []
        if p is not None:
            senses = "  ".join(f"{_clean(n)} {s['contribution']:+.2f}" for n, s in p["modalities"].items())
            parts.append(f"{_clean(str(p['label']))} {p['confidence']:.2f}  {senses}")
        if e is not None:
            parts.append(f"EVENT {e['lifecycle']} {_clean(str(e['kind']))} {_clean(str(e['label']))}")
        return "   ".join(parts)


def _line(name: str, drawn: str) -> str:
    return f"{name:11.11} {drawn}"


def _chunks(items: Sequence[Item] | deque[Item], modality: str, begin: int, columns: int) -> str:
    drawn = [" "] * columns
    for item in sorted(items, key=lambda i: i.t_us):
        at = item.t_us // COLUMN_US - begin
        if modality == "audio":
            last = (item.t_us + max(item.duration_us, 1) - 1) // COLUMN_US - begin
            signs = {place: LEVELS[int(item.drawn)] for place in range(at, last + 1)}
        else:
            signs = {at + n: sign for n, sign in enumerate(item.drawn)}
        for place, sign in signs.items():
            if 0 <= place < columns:
                drawn[place] = sign
    return "".join(drawn)


def _mask(answers: Sequence[Said] | deque[Said], modality: str, begin: int, columns: int) -> str:
    """One sign a window, in the column in which it begins: █ present, · absent, ? unknown."""
    drawn = [" "] * columns
    for said in answers:
        at = said.start_us // COLUMN_US - begin
        if 0 <= at < columns and modality in said.states:
            drawn[at] = STATES.get(said.states[modality], "?")
    return "".join(drawn)


def _answers(answers: Sequence[Said] | deque[Said], begin: int, columns: int) -> str:
    """A label where it begins, dashes as long as it goes on, points where there is nothing."""
    drawn = [" "] * columns
    going = ""
    for said in sorted(answers, key=lambda s: s.start_us):
        at = said.start_us // COLUMN_US - begin
        if not 0 <= at < columns:
            continue
        if said.label == NOTHING:
            drawn[at] = going = "·"
        elif said.label != going:
            going = said.label
            for n, sign in enumerate(going):
                if at + n < columns:
                    drawn[at + n] = sign
        elif drawn[at] == " ":
            drawn[at] = "─"
    return "".join(drawn)


def _is_sound(read: Envelope) -> bool:
    return sound.parameters(read.get("content-type"))[0] in sound.TYPES


def _level(body: bytes, length: Sound) -> int:
    """How loud, 1 to 8; a sound that would have to be decoded first is drawn in the middle."""
    if length.pcm is None:
        return 4
    samples = array.array("h", body[slice(*length.pcm)][: length.samples * length.channels * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    some = samples[:: max(len(samples) // SAMPLES_MAX, 1)]
    return 1 + min(7 * max((abs(s) for s in some), default=0) // LOUD, 7)


def _clean(text: str) -> str:
    """What came from outside moves no cursor."""
    return "".join(c if c.isprintable() else " " for c in text)
