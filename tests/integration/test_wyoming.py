"""The Wyoming bridge on a real Kafka, with the client and server of the wyoming package."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from collections.abc import AsyncIterator
from typing import Any

import pytest
import soundfile
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop, wav_to_chunks
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.server import AsyncEventHandler, AsyncTcpServer

from model.data.shards import find_file, list_files
from services.contract import timestamps
from services.inspection.audit.collect import collect_topic
from services.kafka import clients
from services.local.ports import free_ports
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings
from tests.integration.session import read_topic
from tests.waiting import DEADLINE_S, wait_until

S = 1_000_000


class SpeechToText(AsyncEventHandler):
    """A speech-to-text service whose transcript is the number of bytes it received."""

    async def handle_event(self, event: Event) -> bool:
        self.bytes = getattr(self, "bytes", 0) + len(event.payload or b"")
        if AudioStop.is_type(event.type):
            await self.write_event(Transcript(f"{self.bytes} bytes, number seven", language="en").event())
        return True


class Bridge:
    """A running bridge, and clients to it."""

    def __init__(self, stack: LocalStack, number: int, **settings: str) -> None:
        (self.port,) = free_ports(1)
        environment = {f"BRAID_WYOMING__{name.upper()}": value for name, value in settings.items()}
        self.process = ServiceProcess(
            "wyoming",
            stack.folder,
            {**stack.environment(), "BRAID_WYOMING__PORT": str(self.port), **environment},
            number,
        )

    def client(self) -> AsyncTcpClient:
        return AsyncTcpClient("127.0.0.1", self.port, connect_timeout=DEADLINE_S, read_timeout=DEADLINE_S)


@pytest.fixture(scope="module")
async def bridge(stack: LocalStack, services: dict[str, ServiceProcess]) -> AsyncIterator[Bridge]:
    bridge = Bridge(stack, 1, session="den of satellites", connections_max="2", payload_bytes_max="20000")
    bridge.process.start()
    await bridge.process.wait_until_ready()
    yield bridge
    assert await bridge.process.child.stop() == 0, "the bridge did not end cleanly"


def speech() -> wave.Wave_read:
    """Return two seconds of real speech as a WAV file with 16-bit PCM."""
    files = [find_file(path) for path in list_files(ROOT / "data" / "tridigit" / "speech")[:4]]
    recordings = [soundfile.read(io.BytesIO(file.read_bytes()), dtype="int16") for file in files]
    rate = recordings[0][1]
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(
            (b"".join(samples.tobytes() for samples, _ in recordings) + bytes(2 * 2 * rate))[: 2 * 2 * rate]
        )
    file.seek(0)
    return wave.open(file, "rb")


async def read_records(settings: Settings, modality: str, session: str) -> list[Any]:
    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        raws = await collect_topic(reader, settings.topic_names().media(modality), settings.topics.partitions)
    return [raw for raw in raws if raw.key == session.encode() and raw.value]


def event_time_us(raw: Any) -> int:
    at = timestamps.parse(dict(raw.headers)["ce_time"].decode())
    assert at is not None
    return at


async def test_the_audio_and_transcript_of_a_satellite_become_a_prediction(settings: Settings, bridge: Bridge) -> None:
    with speech() as recording:
        rate, sent = recording.getframerate(), recording.readframes(recording.getnframes())
        recording.rewind()
        async with bridge.client() as client:
            began_us = time.time_ns() // 1000
            for spoke in wav_to_chunks(recording, 480, start_event=True, stop_event=True):
                await client.write_event(spoke.event())
            await client.write_event(Transcript("number seven").event())

            async def both() -> tuple[list[Any], list[Any]] | None:
                # The text was sent last, so all audio has arrived before it.
                transcripts = await read_records(settings, "text", "den of satellites")
                return (
                    (await read_records(settings, "audio", "den of satellites"), transcripts) if transcripts else None
                )

            audio, text = await wait_until(both, "the records of a satellite")
    assert b"".join(raw.value for raw in audio) == sent
    begins = [event_time_us(raw) for raw in audio]
    for before, begin, raw in zip(begins, begins[1:], audio, strict=False):
        assert begin - before == len(raw.value) // 2 * S // rate, "no gap and no overlap"
    # The event time is when the first audio arrived, less its length.
    assert began_us - S <= begins[0] <= time.time_ns() // 1000
    assert [raw.value for raw in text] == [b"number seven"]
    ends_us = begins[0] + len(sent) // 2 * S // rate
    assert event_time_us(text[0]) <= ends_us

    async def find_prediction() -> dict[str, Any] | None:
        predictions = await read_topic(settings, settings.topic_names().predictions)
        finals = [p for p in predictions if p.get("session") == "den of satellites" and p["final"]]
        return next((p for p in finals if {"audio", "text"} <= present(p)), None)

    one = await wait_until(find_prediction, "a prediction of audio and text")
    assert one["modalities"]["video"]["state"] != "present"
    assert bridge.process.read_metric("braid_wyoming_lost_total") == 0


def present(prediction: dict[str, Any]) -> set[str]:
    return {name for name, input in prediction["modalities"].items() if input["state"] == "present"}


async def test_the_bridge_answers_ping_and_describe(bridge: Bridge) -> None:
    async with bridge.client() as client:
        await client.write_event(Ping("there?").event())
        pong = await client.read_event()
        await client.write_event(Describe().event())
        info = await client.read_event()
    assert pong is not None
    assert Pong.from_event(pong).text == "there?"
    assert info is not None
    assert Info.from_event(info) == Info()


async def wait_until_idle(bridge: Bridge) -> None:
    """Wait until earlier satellites have disconnected: at most two are served."""

    async def is_idle() -> bool | None:
        return bridge.process.read_metric("braid_wyoming_connections") == 0 or None

    await wait_until(is_idle, "earlier satellites to have gone")


async def test_a_satellite_that_sends_too_much_gets_an_error(bridge: Bridge) -> None:
    await wait_until_idle(bridge)
    async with bridge.client() as client:
        await client.write_event(AudioChunk(16_000, 2, 1, bytes(20_002)).event())
        event = await client.read_event()
        gone = await client.read_event()
    assert event is not None
    assert Error.from_event(event).code == "length"
    assert gone is None


async def test_the_number_of_satellites_is_limited(bridge: Bridge) -> None:
    await wait_until_idle(bridge)
    async with bridge.client() as one, bridge.client() as two:
        for client in (one, two):
            await client.write_event(Ping().event())
            assert await client.read_event() is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b"", "the third is closed at once"
        writer.close()


async def test_the_bridge_forwards_audio_to_a_speech_to_text_service_and_records_the_transcript(
    stack: LocalStack, services: dict[str, ServiceProcess], settings: Settings
) -> None:
    (port,) = free_ports(1)
    server = AsyncTcpServer("127.0.0.1", port)
    await server.start(SpeechToText)
    bridge = Bridge(stack, 2, session="study of satellites", forward=f"127.0.0.1:{port}")
    bridge.process.start()
    try:
        await bridge.process.wait_until_ready()
        async with bridge.client() as client:
            await client.write_event(Transcribe(language="en").event())
            await client.write_event(AudioStart(16_000, 2, 1).event())
            for _ in range(10):
                await client.write_event(AudioChunk(16_000, 2, 1, bytes(960)).event())
            await client.write_event(AudioStop().event())
            event = await client.read_event()
        assert event is not None
        assert Transcript.from_event(event).text == "9600 bytes, number seven"

        async def transcripts() -> list[Any] | None:
            return await read_records(settings, "text", "study of satellites")

        (text,) = await wait_until(transcripts, "the transcript")
        assert text.value == b'{"language":"en","text":"9600 bytes, number seven"}'
        assert sum(len(raw.value) for raw in await read_records(settings, "audio", "study of satellites")) == 9_600
    finally:
        assert await bridge.process.child.stop() == 0
        await server.stop()


async def test_an_unreachable_speech_to_text_service_is_reported(
    stack: LocalStack, services: dict[str, ServiceProcess]
) -> None:
    (port,) = free_ports(1)
    bridge = Bridge(stack, 3, sessions='{"127.0.0.1": "attic of satellites"}', forward=f"127.0.0.1:{port}")
    bridge.process.start()
    try:
        await bridge.process.wait_until_ready()
        async with bridge.client() as client:
            event = await client.read_event()
        assert event is not None
        assert Error.from_event(event).code == "forward"
    finally:
        assert await bridge.process.child.stop() == 0
