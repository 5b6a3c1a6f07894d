"""The records of the simulated devices: an endless, reproducible stream of good, late, repeated and bad records."""

from __future__ import annotations

import io
import random
from collections import deque
from dataclasses import dataclass, field, replace

from PIL import Image

from services.contract import cloudevents
from services.contract.kafka_record import Headers
from tests.unit.model.media import progressive_jpeg

MARK = "x-torture"  # header of records that admission must reject, with the reason
WAITS = "x-torture-waits"  # header of records in partitions that were added, which nobody reads
ABORTED = "x-torture-aborted"  # header of records of transactions that are never committed
PER_S_IN_ROOM = 62.5  # records a second of one session
LIFE_S = (15.0, 40.0)
ORDER = ("video", "audio", "video", "text")
TYPES = {"text": "text/plain", "video": "image/jpeg", "audio": "audio/pcm;rate=8000"}
SAMPLES = 800
ENDED = 0.8  # share of sessions with end records; the others only fall silent
REMEMBERED = 40
LONG_KEY = 200_000
# Texts that are taken, although a strict parser refuses them.
ODD_TEXTS = (
    b'{"text": "half a smile \\ud83d"}',
    b'\xef\xbb\xbf{"text": "marked"}',
    b'{"text": "long", "n": %s}' % (b"9" * 5_000),
)
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to send.

    Attributes:
        wrong_partition: It goes to a partition that does not match its key.
        by_topic: It comes from a device that divides keys by the partitions that the topic has now.
    """

    modality: str
    session: str
    headers: Headers
    value: bytes
    wrong_partition: bool = False
    by_topic: bool = False


@dataclass(slots=True)
class LiveSession:
    """A live session; now and then one of its modalities is silent for a while."""

    session: str
    until_us: int
    silent: str
    silent_us: tuple[int, int]
    sent: deque[OutgoingRecord] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


def _images() -> list[bytes]:
    found = []
    for n in range(16):
        out = io.BytesIO()
        Image.new("RGB", (16, 16), (n * 16, 255 - n * 16, n * 7)).save(out, "JPEG")
        found.append(out.getvalue())
    return found


class Media:
    """Generates records by event time."""

    def __init__(self, seed: int, per_s: int) -> None:
        self._rng = random.Random(seed)
        self._seed, self._count = seed, 0
        self._sessions: list[LiveSession | None] = [None] * max(round(per_s / PER_S_IN_ROOM), 2)
        self._named = 0
        self._slow_image = progressive_jpeg(4_000, 2_048)
        self._bodies = {
            "video": _images(),
            "audio": [bytes([n, n // 2]) * SAMPLES for n in range(16)],
            "text": [f"number {n} please".encode() for n in range(16)],
        }

    def records_at(self, now_us: int) -> list[OutgoingRecord]:
        """Return the records of an event time: one record, and the end records of a session that ends."""
        n, rng = self._count, self._rng
        self._count += 1
        at = n % len(self._sessions)
        session, out = self._sessions[at], []
        if session is None or now_us >= session.until_us:
            if session is not None and rng.random() < ENDED:
                out += self._ends(session, now_us)
            session = self._sessions[at] = self._live_session(now_us)
        modality = ORDER[n // len(self._sessions) % len(ORDER)]
        if modality == session.silent and session.silent_us[0] <= now_us < session.silent_us[1]:
            modality = "video" if modality != "video" else "audio"
        out.append(self._next_record(session, modality, now_us))
        return out

    def ends(self, now_us: int) -> list[OutgoingRecord]:
        """Return the end records of all live sessions."""
        return [end for session in self._sessions if session is not None for end in self._ends(session, now_us)]

    def record_in_transaction(self, now_us: int, aborted: bool) -> OutgoingRecord:
        """Return a good record of a live session, marked if its transaction is aborted."""
        self._count += len(self._sessions)
        rooms = [session for session in self._sessions if session is not None]
        if not rooms:
            rooms = [self._live_session(now_us)]
        modality = self._rng.choice(ORDER)
        record = self._record(self._rng.choice(rooms), modality, now_us, self._rng.choice(self._bodies[modality]))
        return replace(record, headers=[*record.headers, (ABORTED, b"1")]) if aborted else record

    def record_by_topic(self, session: str, modality: str, now_us: int) -> OutgoingRecord:
        """Return a good record of a device that divides keys by the partitions that the topic has now."""
        room = replace(self._live_session(now_us), session=session)
        return replace(self._record(room, modality, now_us, self._bodies[modality][0]), by_topic=True)

    def live_session(self) -> str:
        """Return one of the live sessions, after the first records of all."""
        return self._rng.choice([session.session for session in self._sessions if session is not None])

    def _live_session(self, now_us: int) -> LiveSession:
        rng = self._rng
        self._named += 1
        from_us = now_us + round(rng.uniform(0, 20) * SECOND_US)
        return LiveSession(
            session=f"session {self._seed}-{self._named}",
            until_us=now_us + round(rng.uniform(*LIFE_S) * SECOND_US),
            silent=rng.choice(("text", "audio", "video")),
            silent_us=(from_us, from_us + round(rng.uniform(3, 8) * SECOND_US)),
        )

    def _next_record(self, session: LiveSession, modality: str, now_us: int) -> OutgoingRecord:
        rng = self._rng
        what = rng.random()
        t_us = now_us - rng.randrange(150_000)
        if what < 0.010 and session.sent:
            return rng.choice(session.sent)
        if what < 0.016 and session.sent:
            return self._conflict(rng.choice(session.sent))
        if what < 0.021:
            return self._bad_record(session, modality, t_us)
        if what < 0.022:
            return self._odd_record(session, t_us)
        if what < 0.026:
            return self._record(session, "video", t_us, b"", cloudevents.ALIVE_TYPE)
        if what < 0.042:
            return replace(self._record(session, modality, t_us, self._bodies[modality][0]), by_topic=True)
        if what < 0.058:
            t_us -= rng.randrange(2_800_000, 6_000_000)  # late for all its windows
        elif what < 0.066:
            t_us -= rng.randrange(1_000_000, 2_500_000)  # in time for some of them
        sending = self._record(session, modality, t_us, rng.choice(self._bodies[modality]))
        session.sent.append(sending)
        return sending

    def _odd_record(self, session: LiveSession, t_us: int) -> OutgoingRecord:
        """Return a good record that ends a reader without limits: odd JSON, a costly image, doubled trace headers."""
        if self._rng.random() < 0.5:
            sent = self._record(session, "text", t_us, self._rng.choice(ODD_TEXTS), content_type="application/json")
        else:
            sent = self._record(session, "video", t_us, self._slow_image)
        trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        return replace(sent, headers=[*sent.headers, trace, trace])

    def _record(
        self, session: LiveSession, modality: str, t_us: int, body: bytes, kind: str = "", content_type: str = ""
    ) -> OutgoingRecord:
        headers = cloudevents.build_headers(
            session=session.session,
            source=cloudevents.device_source("torture", modality),
            id=str(self._count),
            type=kind or cloudevents.media_type(modality),
            t_us=t_us,
            content_type=(content_type or TYPES[modality]) if body else "",
        )
        return OutgoingRecord(modality, session.session, headers, body)

    def _conflict(self, first: OutgoingRecord) -> OutgoingRecord:
        others = [body for body in self._bodies[first.modality] if body != first.value]
        return replace(first, value=self._rng.choice(others))

    def _bad_record(self, session: LiveSession, modality: str, t_us: int) -> OutgoingRecord:
        good = self._record(session, modality, t_us, self._bodies[modality][0])
        by_modality = {"text": ("utf8", b"\xc3\x28"), "video": ("magic", b"GIF89a"), "audio": ("samples", bytes(801))}
        reason, value = by_modality[modality]
        headers, other = dict(good.headers), self._rng.randrange(9)
        if other == 0:
            reason, value = "source", good.value
            del headers["ce_id"]
        elif other == 1:
            reason, value = "time", good.value
            headers["ce_time"] = b"yesterday"
        elif other == 2:
            reason, value = "future", good.value
            headers["ce_time"] = b"2099-01-01T00:00:00Z"
        elif other == 3:
            reason, value = "partition", good.value
        elif other == 4 and modality != "audio":  # the bytes of audio say how long it is
            reason, value = "duration", good.value
            headers["ce_duration"] = "1.²".encode()
        elif other == 5:
            reason, value = "header", good.value
            headers["ce_source"] = b"\xff\xfe"
        elif other == 6:
            reason, value, session = "session", good.value, replace(session, session="k" * LONG_KEY)
        marked = [*headers.items(), (MARK, reason.encode())]
        return OutgoingRecord(modality, session.session, marked, value, wrong_partition=reason == "partition")

    def _ends(self, session: LiveSession, now_us: int) -> list[OutgoingRecord]:
        return [self._record(session, modality, now_us, b"", cloudevents.SESSION_END_TYPE) for modality in TYPES]
