"""The archive of ended events: an explanation without the topics, and `braid forget`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model.data.manifest_set import ManifestSet
from services.contract.event import Event, encode
from services.kafka import clients
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings
from services.storage.archive import EventArchive
from tests.integration import session
from tests.integration.gateway import Gateway
from tests.waiting import DEADLINE_S, wait_until

BRAID = ROOT / ".venv" / "bin" / "braid"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def environment(stack: LocalStack, folder: Path) -> dict[str, str]:
    here = {"BRAID_ARCHIVE__FOLDER": str(folder / "evidence"), "BRAID_LABELS__FOLDER": str(folder / "labels")}
    return {**os.environ, **stack.environment(), **here}


@pytest.fixture(scope="module")
async def gateway(
    stack: LocalStack, services: dict[str, ServiceProcess], environment: dict[str, str]
) -> AsyncIterator[Gateway]:
    gateway = await Gateway(
        stack, 7, **{k: v for k, v in environment.items() if k.startswith(("BRAID_ARCHIVE", "BRAID_LABELS"))}
    ).start()
    yield gateway
    assert await gateway.process.child.stop() == 0


def braid(environment: dict[str, str], *words: str) -> tuple[int, str]:
    done = subprocess.run([BRAID, *words], env=environment, capture_output=True, text=True, timeout=2 * DEADLINE_S)
    return done.returncode, done.stdout + done.stderr


async def test_an_archived_event_is_explained_without_the_topics_until_it_is_forgotten(
    gateway: Gateway, settings: Settings, environment: dict[str, str], hand: bytes, folder: Path
) -> None:
    await session.play_session(settings, "porch of old", hand)
    predictions = await session.wait_for_predictions(settings, "porch of old")
    p = next(one for one in predictions if all(s["state"] == "present" for s in one["modalities"].values()))
    start = p["window"]["start"]
    # Published by the test, because the model may not detect an event in generated audio.
    event = Event("porch of old/1", "porch of old", "end", "dog", "sound", start, start, 0.9, start, True, p["id"])
    async with clients.producer(settings.kafka) as producer:
        await producer.send_and_wait(settings.topic_names().events, encode(event), key=b"porch of old")

    # Other tests end events on the same broker: count those of this session only.
    archive = EventArchive(folder / "evidence", 0, 0)

    async def is_archived() -> bool:
        return archive.entry_of("porch of old", event.id) is not None

    await wait_until(is_archived, "the evidence of the event")
    without_topics = {k: v for k, v in environment.items() if not k.startswith(("BRAID_KAFKA", "BRAID_REDIS"))}
    code, output = braid(without_topics, "why", p["id"], "--reproduce", "--json")
    assert code == 0, output
    explanation: dict[str, Any] = json.loads(output[output.index("{") :])
    assert explanation["identical"] is True
    assert {i["modality"] for i in explanation["inputs"]} == {"text", "video", "audio"}
    assert all(i["bytes"] for i in explanation["inputs"])
    assert gateway.process.read_metric("braid_gateway_events_kept_total") > 0
    entries = len(list(archive.entries_of("porch of old")))
    code, output = braid(environment, "forget", "porch of old", "--json")
    assert (code, json.loads(output)["events_erased"]) == (0, entries)
    left = [path for path in (folder / "evidence").rglob("*") if path.is_file()]
    assert not [path for path in left if b"porch of old" in path.read_bytes()]
    assert braid(without_topics, "why", p["id"])[0] == 2


async def test_labels_from_the_page_and_from_the_command_line_are_read_by_the_trainer(
    gateway: Gateway, settings: Settings, environment: dict[str, str], hand: bytes, folder: Path
) -> None:
    await session.play_session(settings, "classroom", hand)
    predictions = [
        p
        for p in await session.wait_for_predictions(settings, "classroom")
        if p["modalities"]["video"]["state"] == "present"
    ]
    by_page, by_verb = predictions[0]["id"], predictions[1]["id"]
    path = f"api/v1/predictions/{by_page}/label"
    response = await gateway.request(path, b'{"label": "kettle"}', content_type="application/json")
    assert response.status == 201, response.body
    assert (await gateway.request(path, b'{"label": " "}')).status == 422
    assert (await gateway.request(path, b"kettle")).status == 422
    assert (await gateway.request("api/v1/predictions/classroom/1/1@2/label", b'{"label": "x"}')).status == 404
    code, output = braid(environment, "label", by_verb, "doorbell")
    assert code == 0, output
    assert "2 samples" in output
    manifest = folder / "labels" / "labels.jsonl"
    rows = [json.loads(line) | {"split": split} for line, split in zip(manifest.open(), ("train", "val"), strict=True)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ManifestSet(manifest)
    assert data.labels == ("doorbell", "kettle")
    assert set(data.modalities) == {"text", "video", "audio"}
    assert json.loads(braid(environment, "forget", "classroom", "--json")[1])["labels_erased"] == 2
    assert not list((folder / "labels").rglob("*.jpg"))
