"""The HTTP API of the gateway on a real broker and Redis: posting, sessions, media, and the event stream."""

from __future__ import annotations

import asyncio
import io
import json
import time
import wave
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from services.contract import timestamps
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings
from tests.integration.gateway import Gateway
from tests.integration.session import play_session, wait_for_predictions
from tests.waiting import DEADLINE_S, wait_until


@pytest.fixture(scope="module")
async def gateway(stack: LocalStack, services: dict[str, ServiceProcess]) -> AsyncIterator[Gateway]:
    """A gateway on loopback without a token, with one configured device."""
    gateway = await Gateway(stack, BRAID_DEVICES='{"watch": {"session": "wrist", "clock_offset_ms": "auto"}}').start()
    yield gateway
    assert await gateway.process.child.stop() == 0, "the gateway did not end cleanly"


def wav(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(8_000)
        audio.writeframes(bytes([7, 3]) * int(8_000 * seconds))
    return file.getvalue()


async def wait_for_records(gateway: Gateway, session: str, kind: str, count: int = 1) -> list[dict[str, Any]]:
    async def enough() -> list[dict[str, Any]] | None:
        response = await gateway.request(f"api/v1/sessions/{quote(session, safe='')}?seconds=600")
        records: list[dict[str, Any]] = response.json[kind] if response.status == 200 else []
        return records if len(records) >= count else None

    return await wait_until(enough, f"{count} {kind} of {session} on the gateway")


async def test_an_image_and_audio_posted_by_http_become_a_prediction_with_an_explanation(
    gateway: Gateway, settings: Settings, hand: bytes
) -> None:
    video = await gateway.request("api/v1/sessions/porch/video", hand, content_type="image/jpeg")
    audio = await gateway.request("api/v1/sessions/porch/audio", wav(), content_type="audio/wav")
    assert video.status == audio.status == 202
    assert video.json["topic"] == settings.topic_names().media("video")
    assert video.json["partition"] == audio.json["partition"], "all streams of a session are in one partition"
    records = await wait_for_records(gateway, "porch", "prediction")

    async def both() -> dict[str, Any] | None:
        for one in await wait_for_records(gateway, "porch", "prediction"):
            if one["final"] and all(one["modalities"][m]["state"] == "present" for m in ("video", "audio")):
                return one
        return None

    p = await wait_until(both, "a final prediction with video and audio")
    explanation = (await gateway.request(f"api/v1/predictions/{p['id']}")).json
    assert {m["modality"] for m in explanation["members"]} == {"video", "audio"}
    assert explanation["prediction"]["latency"]["total_ms"] == pytest.approx(
        sum(x["ms"] for x in p["latency"]["parts"]), abs=0.01
    )
    total = sum(input["contribution"] for input in p["modalities"].values())
    assert total == pytest.approx(p["score"] - p["baseline"], abs=5e-6)
    assert explanation["runner_up"]["label"] != p["label"]
    assert explanation["reproduce"] == f"braid why {p['id']} --reproduce"
    assert [c["without"] for c in explanation["counterfactuals"]] == [["video"], ["audio"], ["video", "audio"]]
    frame = next(m for m in explanation["members"] if m["modality"] == "video")
    served = await gateway.request(frame["media"])
    assert (served.status, served.headers["content-type"], served.body) == (200, "image/jpeg", hand)
    assert records


async def test_a_session_is_in_the_list_the_snapshot_and_the_devices(
    gateway: Gateway, settings: Settings, hand: bytes
) -> None:
    await play_session(settings, "party", hand)
    await wait_for_predictions(settings, "party")
    finals = [p for p in await wait_for_records(gateway, "party", "prediction", 8) if p["final"]]
    assert finals
    snapshot = (await gateway.request("api/v1/sessions/party?seconds=60")).json
    chunks = snapshot["chunk"]
    assert {c["modality"] for c in chunks} == {"text", "video", "audio"}
    assert next(c["text"] for c in chunks if c["modality"] == "text") == "number 0"
    assert all(len(c["peaks"]) == 20 for c in chunks if c["modality"] == "audio")
    assert {w["modalities"]["video"]["state"] for w in snapshot["window"]} >= {"present"}
    assert snapshot["end"]
    assert (snapshot["size_us"], snapshot["hop_us"]) == (2_000_000, 500_000)
    listed = (await gateway.request("api/v1/sessions")).json["sessions"]
    (summary,) = [s for s in listed if s["id"] == "party"]
    assert summary["counts"]["chunk"] == 24
    assert set(summary["answer"]["states"]) == {"text", "video", "audio"}
    devices = [d for d in (await gateway.request("api/v1/devices")).json["devices"] if d["session"] == "party"]
    assert {(d["source"], d["records"]) for d in devices} == {
        (f"/devices/good/{m}", 8) for m in ("text", "video", "audio")
    }
    assert all(d["ended"] and d["silent_since_us"] is None for d in devices)


async def test_media_is_served_from_the_log_with_a_content_type_that_cannot_run_scripts(
    gateway: Gateway, settings: Settings, hand: bytes
) -> None:
    await play_session(settings, "from the log", hand)
    chunks = await wait_for_records(gateway, "from the log", "chunk", 24)
    audio = next(c for c in chunks if c["modality"] == "audio")
    text = next(c for c in chunks if c["modality"] == "text")
    for one, kind in ((audio, "audio/wav"), (text, "text/plain; charset=utf-8")):
        # With another event time Redis misses; session, position and hash are enough to read from the log.
        path, _, _ = one["media"].partition("?")
        sha256 = one["media"].rpartition("sha256=")[2]
        response = await gateway.request(f"{path}?session=from%20the%20log&t_us=1&sha256={sha256}")
        assert response.status == 200
        assert response.headers["content-type"] == kind
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in response.headers["content-security-policy"]
    assert (await gateway.request(audio["media"])).body[:4] == b"RIFF"
    assert (await gateway.request(f"{path}?session=from%20the%20log&t_us=1&sha256={'0' * 64}")).status == 404
    assert (await gateway.request(f"{path}?session=another&t_us=1&sha256={sha256}")).status == 404, "of another session"
    assert (await gateway.request(f"{path}?t_us=1&sha256={sha256}")).status == 404
    assert (await gateway.request("api/v1/media/smell/0/0?sha256=" + "0" * 64)).status == 404


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status", "reason"),
    [
        ("api/v1/sessions/bad/video", "image/jpeg", b"no picture", 422, "magic"),
        ("api/v1/sessions/bad/video", "text/html", b"<script>", 415, "content_type"),
        ("api/v1/sessions/bad/audio", "audio/pcm;rate=8000", b"\0\0\0", 422, "samples"),
        ("api/v1/sessions/bad/text", "text/plain", b"\xc3\x28", 422, "utf8"),
        ("api/v1/sessions/bad/text", "text/plain", b"", 422, "empty"),
        ("api/v1/sessions/bad/text", "text/plain", b"x" * 1_000_001, 413, "size"),
        ("api/v1/sessions/%07/text", "text/plain", b"x", 422, "session"),
        ("api/v1/sessions/bad/smell", "text/plain", b"x", 404, None),
    ],
)
async def test_bad_media_is_rejected_with_the_reason(
    gateway: Gateway, path: str, content_type: str, body: bytes, status: int, reason: str | None
) -> None:
    response = await gateway.request(path, body, content_type=content_type)
    assert (response.status, response.json.get("reason")) == (status, reason), response.body


async def test_a_session_with_a_slash_and_a_given_event_time_are_preserved(gateway: Gateway) -> None:
    path, t_us = "api/v1/sessions/a%2Fb/text", time.time_ns() // 1000 - 3_000_000
    headers = {"content_type": "text/plain", "ce_id": "one", "ce_source": "/devices/b/t"}
    stale = await gateway.request(path, b"too old", **headers, ce_time="2020-01-01T00:00:00Z")
    assert (stale.status, stale.json["reason"]) == (422, "stale"), "HTTP rejects what alignment would"
    assert (await gateway.request(path, b"now", **headers, ce_time=timestamps.format_us(t_us))).status == 202
    (chunk,) = await wait_for_records(gateway, "a/b", "chunk")
    assert (chunk["id"], chunk["source"], chunk["t_us"]) == ("one", "/devices/b/t", t_us)


async def test_a_configured_device_posts_to_its_session_and_its_clock_is_corrected(
    gateway: Gateway,
) -> None:
    behind_us = 300_000_000
    for n in range(4):
        stated = timestamps.format_us(time.time_ns() // 1000 - behind_us)
        headers = {"content_type": "text/plain", "ce_time": stated, "ce_source": "/devices/watch/words"}
        response = await gateway.request("api/v1/sessions/wherever/text", b"word %d" % n, **headers)
        assert (response.status, response.json["session"]) == (202, "wrist")
    chunks = await wait_for_records(gateway, "wrist", "chunk", 4)
    *slow, right = sorted(chunks, key=lambda c: c["text"])
    assert all(c["arrived_us"] - c["t_us"] >= behind_us for c in slow), "the correction starts at zero"
    assert abs(right["arrived_us"] - right["t_us"]) < 2_000_000
    assert '"after_ms": 300' in gateway.process.child.log.read_text(), "a step is logged"


async def test_the_event_stream_resumes_after_the_last_event_id(gateway: Gateway) -> None:
    query = "session=stream&kind=chunk"
    (hello,) = await gateway.read_events(query, 1)
    assert hello["event"] == "hello"
    for n in range(3):
        await gateway.request("api/v1/sessions/stream/text", b"word %d" % n, content_type="text/plain")
    await wait_for_records(gateway, "stream", "chunk", 3)
    _, *three = await gateway.read_events(query, 4, hello["id"])
    assert [json.loads(one["data"])["text"] for one in three] == ["word 0", "word 1", "word 2"]
    _, again = await gateway.read_events(query, 2, three[1]["id"])
    assert again == three[2]
    _, reset = await gateway.read_events(query, 2, "of another start.7")
    assert reset["event"] == "reset"


async def test_the_number_of_event_streams_is_limited(stack: LocalStack) -> None:
    gateway = await Gateway(stack, 6, BRAID_GATEWAY__STREAMS_MAX="1").start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            await reader.readuntil(b"event: hello")
        assert (await gateway.request("api/v1/events")).status == 503
        writer.close()

        async def freed() -> bool:
            return gateway.process.read_metric("braid_gateway_streams") == 0

        await wait_until(freed, "the stream of a closed connection to be freed")
        assert await gateway.read_events("kind=event", 1)
    finally:
        await gateway.process.child.stop()


async def test_the_gateway_stops_cleanly_while_a_client_reads_events(stack: LocalStack) -> None:
    gateway = await Gateway(stack, 5).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        await reader.readuntil(b"event: hello")
        assert await gateway.process.child.stop() == 0
        await reader.read()
    writer.close()
    assert '"level": "error"' not in gateway.process.child.log.read_text()


async def test_the_gateway_has_the_health_and_metrics_of_every_service(gateway: Gateway) -> None:
    await gateway.request("api/v1/sessions")
    assert gateway.process.get("/healthz")
    assert gateway.process.get("/readyz")
    assert '"braid-gateway"' in (gateway.process.get("/version") or "")
    assert gateway.process.read_metric("braid_gateway_requests_total") > 0
    assert gateway.process.read_metric("braid_gateway_records_total") > 0
