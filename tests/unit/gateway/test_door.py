"""What is taken by HTTP and what is not, as far as one record alone can be judged."""

from __future__ import annotations

from services.contract.alignment_config import AlignmentConfig
from services.contract.dead_letter import Reason, Rejected
from services.gateway.ingest import OutgoingChunk, build_chunk
from services.gateway.media import browser_safe
from services.runtime.devices import DeviceDirectory
from services.runtime.settings import DeviceSettings
from services.storage.payload_cache import Payload

CONFIG = AlignmentConfig()
NOW_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
NONE = DeviceDirectory({})


def reason(modality: str, body: bytes, session: str = "s", **given: str) -> Reason | None:
    named = {name.replace("_", "-"): value for name, value in given.items()}
    made = build_chunk(session, modality, named, body, CONFIG, NONE, NOW_US)
    return made.reason if isinstance(made, Rejected) else None


def test_a_text_needs_nothing_but_its_type() -> None:
    made = build_chunk("kitchen", "text", {"content-type": "text/plain"}, b"hi", CONFIG, NONE, NOW_US)
    assert isinstance(made, OutgoingChunk)
    headers = dict(made.headers)
    assert headers["ce_type"] == b"braid.media.text.v1"
    assert headers["ce_source"] == b"/devices/http/text"
    assert headers["ce_subject"] == b"kitchen"
    assert headers["ce_id"] == made.id.encode()


def test_what_is_stated_is_kept() -> None:
    given = {
        "content-type": "text/plain",
        "ce-id": "7",
        "ce-source": "/devices/a/b",
        "ce-time": "2026-01-01T00:00:00.5+01:00",
        "ce-duration": "250",
    }
    made = build_chunk("s", "text", given, b"hi", CONFIG, NONE, NOW_US)
    assert isinstance(made, OutgoingChunk)
    headers = dict(made.headers)
    assert headers["ce_time"] == b"2025-12-31T23:00:00.500000Z"
    assert (headers["ce_id"], headers["ce_source"], headers["ce_duration"]) == (b"7", b"/devices/a/b", b"250")


def test_alive_records_and_ends_have_no_bytes() -> None:
    assert reason("video", b"", ce_type="braid.alive.v1") is None
    assert reason("video", b"", ce_type="braid.session.end.v1") is None
    assert reason("video", b"x", ce_type="braid.alive.v1") == Reason.TYPE


def test_each_refusal_has_its_reason() -> None:
    plain = {"content_type": "text/plain"}
    assert reason("text", b"hi", "", **plain) == Reason.SESSION
    assert reason("text", b"hi", "x" * 129, **plain) == Reason.SESSION
    assert reason("text", b"hi", ce_type="braid.tick.v1", **plain) == Reason.TYPE
    assert reason("text", b"hi", ce_time="noon", **plain) == Reason.TIME
    assert reason("text", b"hi", ce_id="x" * 257, **plain) == Reason.SOURCE
    assert reason("text", b"x" * 8_193, **plain) == Reason.TEXT
    assert reason("text", b'{"a":1}', content_type="application/json") == Reason.TEXT
    assert reason("text", b"{", content_type="application/json") == Reason.TEXT
    assert reason("text", b"hi") == Reason.CONTENT_TYPE
    assert reason("text", b"hi", ce_duration="1" * 9_000, **plain) == Reason.HEADER
    assert [reason("text", b"hi", ce_duration=duration, **plain) for duration in ("abc", "-5", "99999999")] == [
        Reason.DURATION
    ] * 3
    assert reason("text", b"hi", ce_time="2026-01-01T00:10:00Z", **plain) == Reason.FUTURE
    assert reason("text", b"hi", ce_time="2025-12-30T00:00:00Z", **plain) == Reason.STALE
    assert reason("audio", bytes(40 * 16_000), content_type="audio/pcm;rate=8000") == Reason.DURATION


def test_the_clock_of_a_device_is_corrected_even_if_all_its_records_are_rejected() -> None:
    devices = DeviceDirectory({"cam": DeviceSettings(clock_offset_ms="auto")})
    ahead = {"content-type": "text/plain", "ce-source": "/devices/cam/text", "ce-time": "2026-01-01T00:10:00Z"}
    verdicts = [build_chunk("s", "text", ahead, b"hi", CONFIG, devices, NOW_US) for _ in range(4)]
    assert [isinstance(verdict, Rejected) for verdict in verdicts] == [True, True, True, False]


def test_bytes_are_shown_only_as_types_that_run_nothing() -> None:
    html = Payload("text/html", b"<script>alert(1)</script>")
    assert [browser_safe(m, html) for m in ("text", "video", "audio")] == [None, None, None]
    assert browser_safe("video", Payload("image/svg+xml", b"<svg/>")) is None
    assert browser_safe("video", Payload("image/jpeg", b"<script>")) is None
    message = browser_safe("text", Payload("application/json", b'{"text":"hi"}'))
    assert message is not None
    assert message.content_type == "text/plain; charset=utf-8"
    pcm = browser_safe("audio", Payload("audio/pcm;rate=8000", bytes(8)))
    assert pcm is not None
    assert (pcm.content_type, pcm.body[:4]) == ("audio/wav", b"RIFF")


def test_a_device_has_the_session_and_the_clock_that_the_settings_give_it() -> None:
    devices = DeviceDirectory({"cam": DeviceSettings(session="porch", modality="video", clock_offset_ms=-1_500)})
    given = {"content-type": "image/jpeg", "ce-source": "/devices/cam/front", "ce-type": "braid.alive.v1"}
    made = build_chunk("anywhere", "video", given | {"ce-time": "2026-01-01T00:00:10Z"}, b"", CONFIG, devices, NOW_US)
    assert isinstance(made, OutgoingChunk)
    headers = dict(made.headers)
    assert (made.session, headers["ce_subject"]) == ("porch", b"porch")
    assert headers["ce_time"] == b"2026-01-01T00:00:08.500000Z"
    assert headers["ce_recordedtime"] == b"2026-01-01T00:00:10.000000Z"
    ours = build_chunk("anywhere", "video", given, b"", CONFIG, devices, NOW_US)
    assert isinstance(ours, OutgoingChunk)
    assert "ce_recordedtime" not in dict(ours.headers), "a time that we give needs no correction"
    other = build_chunk("anywhere", "audio", given, b"", CONFIG, devices, NOW_US)
    assert isinstance(other, Rejected)
    assert other.reason == Reason.SOURCE
