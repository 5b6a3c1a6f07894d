"""Events of satellites: the times of their audio, transcripts, and every limit."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event, async_write_event

from services.contract import timestamps
from services.contract.alignment_config import AdmissionLimits
from services.integrations.wyoming import protocol
from services.integrations.wyoming.__main__ import check_settings
from services.integrations.wyoming.audio_events import MediaRecord, SatelliteDecoder
from services.integrations.wyoming.protocol import LINE_BYTES_MAX, LengthLimits, ProtocolError, read_event
from services.integrations.wyoming.server import session_of
from services.runtime.settings import SettingsError, WyomingSettings

S = 1_000_000
NOW = 1_700_000_000 * S
LENGTHS = LengthLimits(1_000, 10_000)


class Wire:
    """A stream writer that collects what is written."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, part: bytes) -> None:
        self.sent += part

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.sent += b"".join(parts)

    async def drain(self) -> None:
        return None


async def encode(event: Event) -> bytes:
    wire = Wire()
    await async_write_event(event, wire)  # type: ignore[arg-type]
    return wire.sent


def reader_of(raw: bytes, whole: bool = True) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    reader.feed_data(raw)
    if whole:
        reader.feed_eof()
    return reader


def make_decoder() -> SatelliteDecoder:
    return SatelliteDecoder("kitchen", "wyoming-here", "c", AdmissionLimits())


def make_chunk(ms: int = 100, rate: int = 16_000, width: int = 2, channels: int = 1) -> Event:
    return AudioChunk(rate, width, channels, bytes(rate * ms // 1000 * width * channels)).event()


def times_us(records: list[MediaRecord]) -> list[int | None]:
    return [timestamps.parse(dict(r.headers)["ce_time"].decode()) for r in records]


def decode(decoder: SatelliteDecoder, *events: tuple[Event, int]) -> list[MediaRecord]:
    return [record for event, now_us in events for record in decoder.decode(event, now_us)]


@given(
    st.text(max_size=50),
    st.dictionaries(st.text(max_size=9), st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9), max_size=5),
    st.binary(max_size=500),
)
def test_events_of_the_wyoming_package_are_read_unchanged(kind: str, data: dict[str, Any], payload: bytes) -> None:
    async def write_and_read() -> Event | None:
        return await read_event(reader_of(await encode(Event(kind, data, payload or None))), LENGTHS)

    assert asyncio.run(write_and_read()) == Event(kind, data, payload or None)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"type":"audio-chunk","payload_length":10001}\n', "length"),
        (b'{"type":"transcript","data_length":1001}\n', "length"),
        (b'{"type":"transcript","data_length":1e99}\n', "json"),
        (b'{"type":"transcript","data_length":-1}\n', "json"),
        (b'{"type":"transcript","data_length":true}\n', "json"),
        (b'{"type":"transcript","data":[]}\n', "json"),
        (b'{"type":7}\n', "json"),
        (b'{"type":"x","type":"y"}\n', "json"),
        (b"\xff\n", "json"),
        (b"\n", "json"),
        (b"GET / HTTP/1.1\r\n", "json"),
        (b"{" * (LINE_BYTES_MAX + 10) + b"\n", "line"),
        (b'{"type":"x","payload_length":9}\nshort', "cut"),
        (b'{"type":"x"', "cut"),
    ],
)
async def test_invalid_and_oversized_events_are_rejected(raw: bytes, code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        await read_event(reader_of(raw), LENGTHS)
    assert refused.value.code == code


async def test_a_satellite_may_be_silent_but_an_event_must_be_complete_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "EVENT_WITHIN_S", 0.01)
    with pytest.raises(ProtocolError) as refused:
        await read_event(reader_of(b'{"type":', whole=False), LENGTHS)
    assert refused.value.code == "slow"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read_event(reader_of(b"", whole=False), LENGTHS), 0.1)
    assert await read_event(reader_of(b""), LENGTHS) is None


def test_audio_has_no_gaps_however_it_arrives() -> None:
    decoder = make_decoder()
    jitter = [0, 30_000, -20_000, 90_000, 10_000, -40_000]
    records = decode(
        decoder,
        (AudioStart(16_000, 2, 1).event(), NOW),
        *((make_chunk(), NOW + 100_000 * n + late) for n, late in enumerate(jitter, 1)),
        (AudioStop().event(), NOW + S),
    )
    assert [len(r.body) for r in records] == [6_400, 6_400, 6_400]
    assert times_us(records) == [NOW, NOW + 200_000, NOW + 400_000], "from the first sample on, samples are counted"
    assert [r.ends_us for r in records] == [NOW + 200_000, NOW + 400_000, NOW + 600_000]
    assert dict(records[0].headers)["content-type"] == b"audio/pcm;rate=16000;channels=1;format=s16le"
    assert dict(records[0].headers)["ce_source"] == b"/devices/wyoming-here/audio"
    assert len({dict(r.headers)["ce_id"] for r in records}) == 3


def test_after_a_pause_or_with_another_format_the_times_begin_anew() -> None:
    decoder = make_decoder()
    records = decode(decoder, (make_chunk(), NOW + 100_000))
    records += decoder.decode(make_chunk(), NOW + 5 * S, 4 * S)
    records += decode(decoder, (make_chunk(rate=8_000), NOW + 5 * S + 100_000), (AudioStop().event(), NOW + 6 * S))
    assert times_us(records) == [NOW, NOW + 5 * S - 100_000, NOW + 5 * S]
    assert [len(r.body) for r in records] == [3_200, 3_200, 1_600]


def test_audio_that_waited_in_buffers_keeps_its_times() -> None:
    records = decode(
        make_decoder(), (make_chunk(200), NOW + 200_000), (make_chunk(200), NOW + 9 * S), (make_chunk(200), NOW + 9 * S)
    )
    assert times_us(records) == [NOW, NOW + 200_000, NOW + 400_000]


def test_remaining_audio_is_published_when_the_connection_ends() -> None:
    decoder = make_decoder()
    assert decode(decoder, (make_chunk(50), NOW)) == []
    assert [len(r.body) for r in decoder.flush()] == [1_600]
    assert list(decoder.flush()) == []


def test_a_transcript_has_the_time_at_which_it_was_spoken() -> None:
    decoder = make_decoder()
    decode(decoder, (make_chunk(1_000), NOW + S))
    (first,) = decode(decoder, (Transcript("number seven", language="en").event(), NOW + 4 * S))
    (second,) = decode(decoder, (Transcript("and now").event(), NOW + 9 * S))
    assert times_us([first, second]) == [NOW + S, NOW + 9 * S]
    assert json.loads(first.body) == {"text": "number seven", "language": "en"}
    assert dict(first.headers)["content-type"] == b"application/json"
    assert (second.body, second.modality) == (b"and now", "text")
    assert decode(decoder, (Transcript("  ").event(), NOW)) == [], "nothing was understood"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (make_chunk(width=4), "format"),
        (make_chunk(rate=4_000), "content_type"),
        (make_chunk(channels=3), "content_type"),
        (Event("audio-chunk", {"rate": "x", "width": 2, "channels": 1}, b"1234"), "content_type"),
        (Event("audio-chunk", {"rate": 16_000, "width": 2, "channels": 1}, b"123"), "samples"),
        (Event("audio-chunk", {}, b"1234"), "format"),
        (Transcript("x" * 9_000).event(), "text"),
    ],
)
def test_audio_in_another_format_and_long_transcripts_are_rejected(event: Event, code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode(make_decoder(), (event, NOW))
    assert refused.value.code == code


def test_other_events_are_ignored() -> None:
    for kind in ("detection", "voice-started", "synthesize", "run-satellite", "streaming-started"):
        assert decode(make_decoder(), (Event(kind, {"name": "x"}), NOW)) == []


def test_an_unlisted_address_has_the_default_session_or_none() -> None:
    rooms = {"192.168.1.20": "kitchen"}
    assert session_of("192.168.1.20", rooms, "") == "kitchen"
    assert session_of("::ffff:192.168.1.20", rooms, "") == "kitchen"
    assert session_of("192.168.1.21", rooms, "") == ""
    assert session_of("192.168.1.21", rooms, "hall") == "hall"


def test_invalid_settings_are_explained() -> None:
    with pytest.raises(SettingsError, match="BRAID_WYOMING__SESSION"):
        check_settings(WyomingSettings())
    check_settings(WyomingSettings(session="hall"))
    with pytest.raises(SettingsError, match="BRAID_WYOMING__ALLOW_UNENCRYPTED"):
        check_settings(WyomingSettings(session="hall", host="0.0.0.0"))
    check_settings(WyomingSettings(session="hall", host="0.0.0.0", allow_unencrypted=True))


@pytest.mark.parametrize(
    ("address", "expected"), [("whisper:10300", ("whisper", 10300)), ("[::1]:1", ("::1", 1)), ("", None)]
)
def test_the_speech_to_text_service_is_a_host_and_a_port(address: str, expected: tuple[str, int] | None) -> None:
    assert WyomingSettings(forward=address).forward_to == expected


@pytest.mark.parametrize("address", ["whisper", "whisper:", ":10300", "whisper:99999", "tcp://whisper:x"])
def test_an_invalid_host_and_port_is_rejected(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        WyomingSettings(forward=address)
