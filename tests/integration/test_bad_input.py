"""Every kind of bad input through the real broker: a dead letter with its reason, and neighbours unharmed."""

from __future__ import annotations

import hashlib
import io
import struct
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image

from services.audit.collect import records
from services.contract import canonical, envelope
from services.local.services import ServiceProcess
from services.runtime import kafka
from services.runtime.settings import Settings
from tests.integration.wait import until

SECRET = b"the payload must not be logged"


@dataclass(frozen=True)
class Bad:
    """One bad record among good ones."""

    name: str
    reason: str
    modality: str
    value: bytes | None
    content_type: str = ""
    stage: str = "admission"
    session: str | None = None
    without: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def bomb() -> bytes:
    """A PNG of a few bytes that states 20,000 x 20,000 pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def lying_wav() -> bytes:
    """3,200 bytes of sound under a header that claims 2,147,483,640 frames."""
    form = struct.pack("<HHIIHH", 1, 1, 8_000, 16_000, 2, 16)
    return (
        b"RIFF"
        + b"\xff\xff\xff\x7f"
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data\xf0\xff\xff\xff"
        + bytes(3200)
    )


def truncated_jpeg() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(out, "JPEG")
    return out.getvalue()[:2_000]


JPEG, PCM, TEXT = "image/jpeg", "audio/pcm;rate=8000", "text/plain"
BAD = [
    Bad("truncated JPEG", "undecodable", "video", truncated_jpeg(), JPEG, stage="fusion"),
    Bad("PNG bomb", "pixels", "video", bomb(), "image/png"),
    Bad("wrong magic", "magic", "video", b"GIF89a" + SECRET, JPEG),
    Bad("WAV with a lying header", "wav_header", "audio", lying_wav(), "audio/wav"),
    Bad("odd PCM byte count", "samples", "audio", bytes(801), PCM),
    Bad("invalid UTF-8", "utf8", "text", SECRET + b"\xff\xfe", TEXT),
    Bad("missing header", "source", "text", SECRET, TEXT, without="ce_id"),
    Bad("null value", "null", "text", None, TEXT),
    Bad("unknown ce_type", "type", "text", SECRET, TEXT, headers={"ce_type": "com.example.other"}),
    Bad("2 MB payload", "size", "video", b"\xff\xd8" + bytes(2_000_000), JPEG),
    Bad("session id of 300 bytes", "session", "text", SECRET, TEXT, session="s" * 300),
    Bad("event time a year ahead", "future", "text", SECRET, TEXT, headers={"ce_time": "2099-01-01T00:00:00Z"}),
]


def headers_of(bad: Bad, session: str, t_us: int) -> list[tuple[str, bytes]]:
    built = envelope.build(
        session=session,
        source=f"/devices/bad/{bad.modality}",
        id=bad.name,
        type=envelope.media_type(bad.modality),
        t_us=t_us,
        content_type=bad.content_type,
    )
    return [
        (name, bad.headers[name].encode() if name in bad.headers else raw) for name, raw in built if name != bad.without
    ]


async def play(settings: Settings, session: str, hand: bytes, bad: Bad | None) -> tuple[str, int, int] | None:
    """Four seconds of a good session with one bad record in its middle; where the bad one stands."""
    topics, start_us = settings.topic_names(), (int(time.time()) - 5) * 1_000_000
    at = None
    async with kafka.producer(settings.kafka.bootstrap_servers) as producer:
        for n in range(8):
            t_us = start_us + n * 500_000
            good = [("audio", PCM, bytes([n, 1]) * 4_000), ("video", JPEG, hand), ("text", TEXT, b"number %d" % n)]
            for modality, content_type, body in good:
                headers = envelope.build(
                    session=session,
                    source=f"/devices/good/{modality}",
                    id=str(n),
                    type=envelope.media_type(modality),
                    t_us=t_us,
                    content_type=content_type,
                )
                await producer.send_and_wait(topics.media(modality), body, key=session.encode(), headers=headers)
            if bad is not None and n == 3:
                key = (bad.session or session).encode()
                sent = headers_of(bad, bad.session or session, t_us)
                done = await producer.send_and_wait(topics.media(bad.modality), bad.value, key=key, headers=sent)
                at = done.topic, done.partition, done.offset
        for modality in topics.modalities:
            for device in ("good", "bad"):
                headers = envelope.build(
                    session=session,
                    source=f"/devices/{device}/{modality}",
                    id="end",
                    type=envelope.SESSION_END_TYPE,
                    t_us=start_us,
                    content_type=TEXT,
                )
                await producer.send_and_wait(topics.media(modality), b"", key=session.encode(), headers=headers)
    return at


async def found(settings: Settings, topic: str) -> list[dict[str, Any]]:
    async with kafka.reader(settings.kafka.bootstrap_servers) as reader:
        raws = await records(reader, topic, settings.topics.partitions)
    return [canonical.loads_object(raw.value or b"") for raw in raws]


async def predictions(settings: Settings, session: str, count: int = 8) -> list[dict[str, Any]]:
    async def enough() -> list[dict[str, Any]] | None:
        all_of_them = await found(settings, settings.topic_names().predictions)
        ours = [p for p in all_of_them if p["session"] == session and p["final"]]
        return ours if len(ours) >= count else None

    return await until(enough, f"{count} final predictions of {session}")


def picture_of(windows: list[dict[str, Any]]) -> list[Any]:
    """What the good devices' chunks come to, window by window, times aside."""
    return [
        {
            m: sorted((i["source"], i["id"]) for i in p["inputs"] if i["modality"] == m and "/good/" in i["source"])
            for m in p["modalities"]
        }
        for p in sorted(windows, key=lambda p: p["window"]["start"])
    ]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_bad_input_is_a_dead_letter_and_its_neighbours_are_unharmed(
    bad: Bad, settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    session = f"bad {bad.name}"
    at = await play(settings, session, hand, bad)
    assert at is not None

    async def letter() -> dict[str, Any] | None:
        dead = await found(settings, settings.topic_names().dead)
        return next((d for d in dead if (d["topic"], d["partition"], d["offset"]) == at), None)

    told = await until(letter, "the dead letter")
    assert (told["reason"], told["stage"]) == (bad.reason, bad.stage)
    assert told["sha256"] == (None if bad.value is None else hashlib.sha256(bad.value).hexdigest())
    assert told["size"] == (None if bad.value is None else len(bad.value))

    clean = f"clean {bad.name}"
    await play(settings, clean, hand, None)
    with_it = picture_of(await predictions(settings, session))
    without_it = picture_of(await predictions(settings, clean))
    assert with_it == without_it
    if bad.stage == "fusion":
        states = {p["modalities"]["video"]["state"] for p in await predictions(settings, session)}
        unusable = [u for p in await predictions(settings, session) for u in p["modalities"]["video"]["unusable"]]
        assert "present" in states
        assert {u["reason"] for u in unusable} == {bad.reason}
    for service in services.values():
        log = service.child.log.read_bytes()
        assert service.child.running
        assert SECRET not in log
        assert session.encode() not in log


@pytest.mark.parametrize("session", ["kitchen {main} 1", "Küche 🙂", "{}", "a b  c"])
async def test_a_session_id_with_braces_spaces_or_signs_is_served_like_any_other(
    session: str, settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    await play(settings, session, hand, None)
    ours = await predictions(settings, session)
    assert all(p["modalities"]["audio"]["state"] == "present" for p in ours[3:5])
