"""Bad input through a real broker: each kind becomes a dead letter with its reason, and the session goes on."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image

from services.contract import cloudevents
from services.contract import window as window_record
from services.contract.window import Member, Window, WindowMembers
from services.kafka import clients
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings
from tests.integration.session import JPEG, PCM, TEXT, play_session, read_topic, wait_for_predictions
from tests.waiting import wait_until

SECRET = b"the payload must not be logged"


@dataclass(frozen=True)
class BadRecord:
    """A bad record that is sent among good ones; `without` names a header that is left out."""

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
    """Return a small PNG file whose header claims 20,000 x 20,000 pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def window_of(modality: str, partition: int, config: str) -> bytes:
    """Return an early window with a member in a log that does not exist. A final one would change the frontier."""
    member = Member("/d", "1", 5, 0, "0" * 64, partition, 0)
    lanes = {modality: WindowMembers("present", "data", 9, (member,))}
    return window_record.encode(Window("kitchen", 0, 10, None, False, config, lanes, 1, 2))


def wav_with_false_length() -> bytes:
    """Return 3,200 bytes of audio with a header that claims ten times as many."""
    form = struct.pack("<HHIIHH", 1, 1, 8_000, 16_000, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + 32_000)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", 32_000)
        + bytes(3200)
    )


def truncated_jpeg() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(out, "JPEG")
    return out.getvalue()[:2_000]


BAD = [
    BadRecord("truncated JPEG", "undecodable", "video", truncated_jpeg(), JPEG, stage="fusion"),
    BadRecord("PNG bomb", "pixels", "video", bomb(), "image/png"),
    BadRecord("wrong magic", "magic", "video", b"GIF89a" + SECRET, JPEG),
    BadRecord("WAV with a lying header", "wav_header", "audio", wav_with_false_length(), "audio/wav"),
    BadRecord("odd PCM byte count", "samples", "audio", bytes(801), PCM),
    BadRecord("invalid UTF-8", "utf8", "text", SECRET + b"\xff\xfe", TEXT),
    BadRecord("missing header", "source", "text", SECRET, TEXT, without="ce_id"),
    BadRecord("null value", "null", "text", None, TEXT),
    BadRecord("unknown ce_type", "type", "text", SECRET, TEXT, headers={"ce_type": "com.example.other"}),
    BadRecord("2 MB payload", "size", "video", b"\xff\xd8" + bytes(2_000_000), JPEG),
    BadRecord("session id of 300 bytes", "session", "text", SECRET, TEXT, session="s" * 300),
    BadRecord("event time a year ahead", "future", "text", SECRET, TEXT, headers={"ce_time": "2099-01-01T00:00:00Z"}),
]


def headers_of(bad: BadRecord, session: str, t_us: int) -> list[tuple[str, bytes]]:
    built = cloudevents.build_headers(
        session=session,
        source=f"/devices/bad/{bad.modality}",
        id=bad.name,
        type=cloudevents.media_type(bad.modality),
        t_us=t_us,
        content_type=bad.content_type,
    )
    return [
        (name, bad.headers[name].encode() if name in bad.headers else raw) for name, raw in built if name != bad.without
    ]


def good_inputs(windows: list[dict[str, Any]]) -> list[Any]:
    """Return the inputs of the good devices in each window, without times."""
    return [
        {
            m: sorted((i["source"], i["id"]) for i in p["inputs"] if i["modality"] == m and "/good/" in i["source"])
            for m in p["modalities"]
        }
        for p in sorted(windows, key=lambda p: p["window"]["start"])
    ]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_bad_input_becomes_a_dead_letter_and_its_session_goes_on(
    bad: BadRecord, settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    session = f"bad {bad.name}"
    key = (bad.session or session).encode()
    position = await play_session(
        settings, session, hand, lambda t_us: (key, bad.modality, bad.value, headers_of(bad, key.decode(), t_us))
    )
    assert position is not None

    async def find_letter() -> dict[str, Any] | None:
        dead = await read_topic(settings, settings.topic_names().dead)
        return next((d for d in dead if (d["topic"], d["partition"], d["offset"]) == position), None)

    dead_letter = await wait_until(find_letter, "the dead letter")
    assert (dead_letter["reason"], dead_letter["stage"]) == (bad.reason, bad.stage)
    assert dead_letter["sha256"] == (None if bad.value is None else hashlib.sha256(bad.value).hexdigest())
    assert dead_letter["size"] == (None if bad.value is None else len(bad.value))

    clean = f"clean {bad.name}"
    await play_session(settings, clean, hand)
    with_bad_input = good_inputs(await wait_for_predictions(settings, session))
    clean_predictions = good_inputs(await wait_for_predictions(settings, clean))
    assert with_bad_input == clean_predictions
    if bad.stage == "fusion":
        states = {p["modalities"]["video"]["state"] for p in await wait_for_predictions(settings, session)}
        unusable = [
            u for p in await wait_for_predictions(settings, session) for u in p["modalities"]["video"]["unusable"]
        ]
        assert "present" in states
        assert {u["reason"] for u in unusable} == {bad.reason}
    for service in services.values():
        log = service.child.log.read_bytes()
        assert service.child.running
        assert SECRET not in log
        assert session.encode() not in log


@pytest.mark.parametrize("session", ["kitchen {main} 1", "Küche 🙂", "{}", "a b  c"])
async def test_a_session_id_may_contain_braces_spaces_and_symbols(
    session: str, settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    await play_session(settings, session, hand)
    predictions = await wait_for_predictions(settings, session)
    assert all(p["modalities"]["audio"]["state"] == "present" for p in predictions[3:5])


async def test_an_invalid_record_in_the_windows_topic_becomes_a_dead_letter(
    settings: Settings, services: dict[str, ServiceProcess], hand: bytes
) -> None:
    topics = settings.topic_names()
    async with clients.producer(settings.kafka) as producer:
        config = settings.alignment_config().digest
        foreign = [window_of("audio", 99, config), window_of("smell", 2, config)]
        sent = [
            await producer.send_and_wait(topics.windows, junk, partition=2) for junk in (b"{", b"[1]", b"{}", *foreign)
        ]

    async def find_letters() -> list[dict[str, Any]] | None:
        dead = [d for d in await read_topic(settings, topics.dead) if d["topic"] == topics.windows]
        return dead if len(dead) == len(sent) else None

    dead_letter = await wait_until(find_letters, "a dead letter for each")
    assert {d["reason"] for d in dead_letter} == {"record"}
    assert {d["offset"] for d in dead_letter} == {s.offset for s in sent}
    await play_session(settings, "after the junk", hand)
    await wait_for_predictions(settings, "after the junk")
    assert services["fusion"].child.running


async def test_predictions_are_the_same_while_redis_is_down(
    settings: Settings, services: dict[str, ServiceProcess], stack: LocalStack, hand: bytes
) -> None:
    def dead_letter(predictions: list[dict[str, Any]]) -> list[Any]:
        in_order = sorted(predictions, key=lambda p: p["window"]["start"])
        return [(p["label"], p["confidence"], [s["contribution"] for s in p["modalities"].values()]) for p in in_order]

    assert stack.redis is not None
    await play_session(settings, "with redis", hand)
    with_bad_input = await wait_for_predictions(settings, "with redis")
    stack.redis.child.kill()
    try:
        from_log = services["fusion"].read_metric("braid_payload_fetch_total")
        await play_session(settings, "without redis", hand)
        clean_predictions = await wait_for_predictions(settings, "without redis")
        assert services["fusion"].read_metric("braid_payload_fetch_total") > from_log
        assert services["fusion"].read_metric("braid_redis_errors_total") > 0
    finally:
        await stack.redis.start()
    assert dead_letter(with_bad_input) == dead_letter(clean_predictions)
