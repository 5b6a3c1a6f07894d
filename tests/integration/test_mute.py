"""`braid mute` and `braid forget` on a real stack."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from services.contract import canonical, cloudevents
from services.kafka import clients
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings
from services.storage.payload_cache import PayloadCache, key_of
from tests.integration.gateway import Gateway
from tests.integration.session import PCM, TEXT, play_session, read_topic, wait_for_predictions
from tests.waiting import wait_until

BRAID = ROOT / ".venv" / "bin" / "braid"


@pytest.fixture(scope="module")
async def gateway(stack: LocalStack, services: dict[str, ServiceProcess]) -> AsyncIterator[Gateway]:
    gateway = await Gateway(stack, 8).start()
    yield gateway
    assert await gateway.process.child.stop() == 0, "the gateway did not end cleanly"


async def run_braid(stack: LocalStack, *words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        BRAID, *words, env={**os.environ, **stack.environment()}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_a_muted_modality_is_not_used_not_shown_and_not_served(
    stack: LocalStack, settings: Settings, gateway: Gateway, hand: bytes
) -> None:
    code, output = await run_braid(stack, "mute", "bedroom", "audio", "--json")
    assert (code, json.loads(output)["muted"]) == (0, ["audio"])
    await play_session(settings, "bedroom", hand)
    predictions = await wait_for_predictions(settings, "bedroom")
    for p in predictions:
        assert p["modalities"]["audio"]["state"] == "muted"
        assert p["modalities"]["audio"]["contribution"] == 0
        assert p["id"].endswith("+m.audio")
        assert "audio" not in {i["modality"] for i in p["inputs"]}
    with_video = next(p for p in predictions if p["modalities"]["video"]["state"] == "present")
    code, output = await run_braid(stack, "why", with_video["id"], "--reproduce", "--json")
    assert (code, json.loads(output)["identical"]) == (0, True)

    async def all_chunks() -> list[dict[str, Any]] | None:
        response = await gateway.request("api/v1/sessions/bedroom?seconds=600")
        chunks = response.json["chunk"] if response.status == 200 else []
        return chunks if len(chunks) == 24 else None

    chunks = await wait_until(all_chunks, "all chunks of bedroom")
    for c in chunks:
        assert ("peaks" in c or "media" in c) is (c["modality"] != "audio")
    session = (await gateway.request("api/v1/sessions/bedroom")).json
    assert session["muted"] == ["audio"]
    why = (await gateway.request(f"api/v1/predictions/{quote(with_video['id'])}")).json
    audio = next(m for m in why["members"] if m["modality"] == "audio")
    assert audio["muted"] is True
    query = f"{audio['at'][0]}/{audio['at'][1]}?session=bedroom&t_us={audio['t_us']}&sha256={audio['sha256']}"
    assert (await gateway.request(f"api/v1/media/audio/{query}")).status == 403
    assert (await run_braid(stack, "unmute", "bedroom"))[0] == 0

    async def unmuted() -> bool:
        return not (await gateway.request("api/v1/sessions/bedroom")).json["muted"]

    await wait_until(unmuted, "the unmute")
    assert (await gateway.request(f"api/v1/media/audio/{query}")).status == 403, "what was muted stays hidden"


async def test_an_audit_reproduces_the_predictions_of_a_muted_session(stack: LocalStack, settings: Settings) -> None:
    code, output = await run_braid(stack, "audit", "--json")
    audited = json.loads(output)
    assert not [t for t in json.dumps(audited).split('"') if "bedroom" in t], audited
    assert code in (0, 1), "other tests leave records that fail an audit"


async def test_a_mute_takes_effect_while_the_session_is_live(
    settings: Settings, services: dict[str, ServiceProcess]
) -> None:
    from services.kafka.control_topic import update_control

    topics, key = settings.topic_names(), b"study"
    count = settings.topics.partitions
    async with clients.producer(settings.kafka) as producer, clients.reader(settings.kafka) as reader:
        for n in range(40):
            t_us = time.time_ns() // 1000
            for modality, content_type, body in (("audio", PCM, bytes([n, 1]) * 800), ("text", TEXT, b"%d" % n)):
                headers = cloudevents.build_headers(
                    session="study",
                    source=f"/devices/d/{modality}",
                    id=str(n),
                    type=cloudevents.media_type(modality),
                    t_us=t_us,
                    content_type=content_type,
                )
                await producer.send_and_wait(topics.media(modality), body, key=key, headers=headers)
            if n == 20:
                await update_control(
                    reader, producer, topics, count, "study", lambda c: c.mute(["audio"], time.time_ns() // 1000)
                )
            await asyncio.sleep(0.1)

    async def audio_states() -> list[str] | None:
        published = await read_topic(settings, topics.predictions)
        states = [p["modalities"]["audio"]["state"] for p in published if p.get("session") == "study"]
        return states if states.count("muted") >= 5 else None

    states = await wait_until(audio_states, "predictions after the mute")
    muted_from = states.index("muted")
    assert "present" in states[:muted_from]
    assert "present" not in states[muted_from:], "audio is used again although it is muted"


async def test_a_forgotten_session_is_gone_from_the_page_from_redis_and_from_why(
    stack: LocalStack, settings: Settings, gateway: Gateway, hand: bytes
) -> None:
    await play_session(settings, "nursery", hand)
    (prediction, *_) = await wait_for_predictions(settings, "nursery")
    redis = PayloadCache(settings.redis.url, 120, 500)

    async def is_listed() -> bool:
        sessions = (await gateway.request("api/v1/sessions")).json["sessions"]
        return any(s["id"] == "nursery" and s["counts"]["chunk"] == 24 for s in sessions)

    await wait_until(is_listed, "nursery on the page")
    code, output = await run_braid(stack, "forget", "nursery", "--json")
    assert (code, json.loads(output)["hidden"]) == (0, True)
    assert json.loads(output)["payload_keys_erased"] >= 1
    assert await redis.forget("nursery") == 0
    await redis.close()
    assert key_of("nursery", 0) != key_of("bedroom", 0)

    async def is_gone() -> bool:
        sessions = (await gateway.request("api/v1/sessions")).json["sessions"]
        return not any(s["id"] == "nursery" for s in sessions)

    await wait_until(is_gone, "nursery to leave the page")
    assert (await gateway.request("api/v1/sessions/nursery")).status == 404
    assert (await gateway.request(f"api/v1/predictions/{quote(prediction['id'])}")).status == 404
    devices = (await gateway.request("api/v1/devices")).json["devices"]
    assert not [d for d in devices if d["session"] == "nursery"]
    code, output = await run_braid(stack, "why", prediction["id"])
    assert code == 3
    topics = settings.topic_names()
    assert [p for p in await read_topic(settings, topics.predictions) if p.get("session") == "nursery"], (
        "until retention"
    )
    for topic in ("predictions", "windows", "video"):
        code, output = await run_braid(stack, "inspect", topic, "--session", "nursery", "--json")
        assert (code, json.loads(output)) == (0, []), topic
    later = {"session": "nursery", "start": time.time_ns() // 1000, "lifecycle": "new"}
    async with clients.producer(settings.kafka) as producer:
        await producer.send_and_wait(topics.events, canonical.dumps(later), key=b"nursery")
    code, output = await run_braid(stack, "tail", "--beginning", "--session", "nursery", "--count", "1", "--json")
    assert (code, json.loads(output)) == (0, later), "it prints only what came after"
