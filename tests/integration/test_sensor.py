"""A fourth modality in a running installation: topics, migration, restart and a model, without a change of code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.contract import cloudevents
from services.kafka import clients
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load
from tests.integration.session import read_topic
from tests.waiting import wait_until

OLD = {"BRAID_TOPICS__PREFIX": "house", "BRAID_TOPICS__PARTITIONS": "1", "BRAID_KAFKA__GROUP_PREFIX": "house"}
NEW = {**OLD, "BRAID_ALIGNMENT__MODALITIES": '{"sensor": {"lateness_ms": 300, "idle_timeout_ms": 700}}'}
SENTENCES = {"airing": "open the window please", "heating": "turn the heating up"}


def reading(label: str, n: int = 0) -> dict[str, Any]:
    """Return the readings of a cold hall with an open door, or of a warm one with a closed door."""
    airing = label == "airing"
    return {"temperature": (4 if airing else 29) + n / 10, "door": "open" if airing else "closed"}


async def braid(environment: Mapping[str, str], *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "braid"),
        *words,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (words, err.decode())
    return out.decode()


async def send(settings: Settings, session: str, modality: str, content_type: str, bodies: list[bytes]) -> None:
    """Send a record for each half second of event time, the last one now."""
    now_us = time.time_ns() // 1000
    async with clients.producer(settings.kafka.bootstrap_servers) as producer:
        for n, body in enumerate(bodies):
            t_us = now_us - (len(bodies) - 1 - n) * 500_000
            headers = cloudevents.build_headers(
                session=session,
                source=f"/devices/hall/{modality}",
                id=str(t_us),
                type=cloudevents.media_type(modality),
                t_us=t_us,
                content_type=content_type,
            )
            topic = settings.topic_names().media(modality)
            await producer.send_and_wait(topic, body, key=session.encode(), headers=headers)


async def finals(settings: Settings) -> list[dict[str, Any]]:
    return [p for p in await read_topic(settings, settings.topic_names().predictions) if p["final"]]


async def with_readings(settings: Settings, session: str, count: int = 3) -> list[dict[str, Any]] | None:
    """Return the final predictions of a session with readings, None while there are fewer."""
    predictions = [
        p
        for p in await finals(settings)
        if p.get("session") == session and p["modalities"].get("sensor", {}).get("state") == "present"
    ]
    return predictions if len(predictions) >= count else None


async def test_a_sensor_modality_is_added_to_a_running_installation(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = stack.environment()
    for name, value in {**environment, **OLD}.items():
        monkeypatch.setenv(name, value)
    old = load()
    monkeypatch.setenv("BRAID_ALIGNMENT__MODALITIES", NEW["BRAID_ALIGNMENT__MODALITIES"])
    new = load()
    started: list[ServiceProcess] = []

    async def start(own: Mapping[str, str]) -> None:
        for name in ("aligner", "fusion"):
            started.append(ServiceProcess(name, tmp_path, {**environment, **own}, len(started)))
            started[-1].start()
        for service in started[-2:]:
            await service.wait_until_ready()

    async def stop() -> None:
        assert [await service.child.stop() for service in started[-2:]] == [0, 0]

    try:
        await braid({**environment, **OLD}, "topics", "apply")
        await start(OLD)
        await send(old, "before", "text", "text/plain", [b"seven"] * 4)
        await wait_until(lambda: finals(old), "a prediction before there are readings")
        await stop()

        # Only the settings name the new modality.
        await braid({**environment, **NEW}, "topics", "apply")
        assert (
            json.loads(await braid({**environment, **NEW}, "migrate-settings", "--json"))["to"]
            == new.alignment_config().digest
        )
        await start(NEW)
        cold = [json.dumps(reading("airing", n)).encode() for n in range(4)]
        await send(new, "cold", "sensor", "application/json", cold)
        masked = await wait_until(lambda: with_readings(new, "cold"), "predictions of the model that ships")
        assert {p["model"]["name"] for p in masked} == {"home"}
        assert {p["modalities"]["sensor"]["contribution"] for p in masked} == {0.0}
        assert {p["error"] for p in masked} == {None}
        await stop()

        rows = [
            {"id": str(n), "label": label, "sensor": reading(label, n), "text": SENTENCES[label] if n % 3 else None}
            for n in range(20)
            for label in SENTENCES
        ]
        manifest, model = tmp_path / "hall.jsonl", tmp_path / "models" / "hall" / "1"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        await braid({}, "train", "--data", str(manifest), "--out", str(model), "--epochs", "15")
        await start({**NEW, "BRAID_FUSION__MODEL": str(model)})
        warm = [json.dumps(reading("heating", n)).encode() for n in range(4)]
        await send(new, "warm", "sensor", "application/json", warm)
        predictions = await wait_until(
            lambda: with_readings(new, "warm"), "predictions of the model that knows readings"
        )
        assert {p["label"] for p in predictions} == {"heating"}
        assert all(p["modalities"]["sensor"]["contribution"] > 0.1 for p in predictions)
        await stop()
    finally:
        for service in started:
            service.child.kill()
