"""Sessions through a real broker, recorded and replayed: identical bytes, and explained differences under other settings."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import save
from model.streams.network import StreamsNetwork
from services.kafka import clients, topic_admin
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings, load
from tests.integration.session import play_session, wait_for_predictions
from tests.waiting import DEADLINE_S

OWN = {"BRAID_TOPICS__PREFIX": "recorded", "BRAID_TOPICS__PARTITIONS": "2", "BRAID_KAFKA__GROUP_PREFIX": "recorded"}
BRAID = str(Path(sys.executable).parent / "braid")
SESSIONS = ("kitchen", "Küche 🙂")
MUTED = "bedroom"


@pytest.fixture(scope="module")
async def recorded(stack: LocalStack) -> AsyncIterator[Settings]:
    """Topics, an aligner and a fusion worker of this module."""
    own = {**stack.environment(), **OWN}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        settings = load()
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.create_missing_topics(admin, settings)
    services = [ServiceProcess(name, stack.folder, own, number=20) for name in ("aligner", "fusion")]
    for service in services:
        service.start()
    for service in services:
        await service.wait_until_ready()
    yield settings
    for service in services:
        await service.child.stop()


def environment(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        **OWN,
        "BRAID_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "BRAID_KAFKA__SIGNING_FILE": str(settings.kafka.signing_file),
        "BRAID_REDIS__URL": settings.redis.url,
    }


async def start_braid(settings: Settings, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        BRAID, *words, env=environment(settings), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def run_braid_json(settings: Settings, *words: str, code: int = 0) -> Any:
    """Return the JSON output of a command that must end with this exit code."""
    process = await start_braid(settings, *words, "--json")
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == code, err.decode()
    return json.loads(out)


def other_model(folder: Path) -> Path:
    """Save an untrained checkpoint with the architecture of the shipped one."""
    config = json.loads((ROOT / "models" / "home" / "1" / "config.json").read_text())
    network = StreamsNetwork(len(config["labels"]), len(config["words"]), config["vector_size"])
    save(folder, network, {**config, "version": "other"}, "a test")
    return folder


async def test_a_recording_replays_byte_by_byte_and_differences_are_explained(
    recorded: Settings, hand: bytes, tmp_path: Path
) -> None:
    assert (await run_braid_json(recorded, "mute", MUTED, "audio"))["muted"] == ["audio"]
    for session in (*SESSIONS, MUTED):
        await play_session(recorded, session, hand)
    for session in (*SESSIONS, MUTED):
        predictions = await wait_for_predictions(recorded, session)
        assert ({p["modalities"]["audio"]["state"] for p in predictions} == {"muted"}) is (session == MUTED)
    path = str(tmp_path / "three.mcap")
    summary = await run_braid_json(recorded, "record", path)
    assert summary["records"]["recorded.media.video.v1"] >= 16
    assert set(summary["windows_by_config"]) == {summary["config"]}

    same = await run_braid_json(recorded, "replay", path)
    assert same["identical"]
    for kind in ("windows", "predictions"):
        assert same[kind]["identical"] >= 24
        assert same[kind]["uncompared"] == 0
    assert same["events"]["identical"] >= 0

    alone = str(tmp_path / "one.mcap")
    summary = await run_braid_json(recorded, "record", alone, "--session", SESSIONS[1])
    one = await run_braid_json(recorded, "replay", path, "--session", SESSIONS[1])
    assert one["identical"]
    assert 8 <= one["windows"]["identical"] < same["windows"]["identical"]
    assert {**one, "recording": alone} == await run_braid_json(recorded, "replay", alone)
    keys = {row["key"] for row in await run_braid_json(recorded, "inspect", "windows", "--recording", alone)}
    assert keys == {SESSIONS[1]}

    hop = await run_braid_json(recorded, "replay", path, "--set", "alignment.hop_ms=1000")
    assert hop["settings"] == ["alignment.hop_ms 500 -> 1000"]
    assert hop["windows"]["vanishes"] > 0
    assert all("alignment.hop_ms 500 -> 1000" in d["why"] for d in hop["differences"])

    case = str(tmp_path / "case")
    model = ("--model", str(other_model(tmp_path / "model")))
    other = await run_braid_json(recorded, "replay", path, *model, "--as-test", case)
    assert other["windows"] == same["windows"]
    assert other["predictions"]["changes"] == same["predictions"]["identical"]
    assert "home other" in other["model"]
    checked = await run_braid_json(
        recorded, "replay", "--check", case, code=1
    )  # with the served model, which is another one
    assert checked[0]["predictions"]["changes"] == same["predictions"]["identical"]
    assert checked[0]["windows"] == same["windows"]


async def test_why_gives_the_same_explanation_from_the_log_and_from_a_recording(
    recorded: Settings, hand: bytes, tmp_path: Path
) -> None:
    await play_session(recorded, "asked", hand)
    predictions = await wait_for_predictions(recorded, "asked")
    id = next(p["id"] for p in predictions if all(s["state"] == "present" for s in p["modalities"].values()))
    from_log = await run_braid_json(recorded, "why", id, "--reproduce")
    assert from_log["identical"] is True
    assert len(from_log["counterfactuals"]) == 7
    parts = from_log["latency"]["parts"]
    assert sum(part["ms"] for part in parts) == pytest.approx(from_log["latency"]["total_ms"], abs=0.01)
    assert {row["topic"] for row in from_log["inputs"]} == set(recorded.topic_names().media_all)

    path = str(tmp_path / "asked.mcap")
    await run_braid_json(recorded, "record", path, "--since", "1")
    from_file = await run_braid_json(recorded, "why", id, "--reproduce", "--recording", path)
    assert from_file == from_log
    saved = await run_braid_json(recorded, "inspect", "video", "--session", "asked", "--save", str(tmp_path / "saved"))
    assert [Path(row["saved"]).read_bytes() for row in saved if "saved" in row] == [hand] * 8
    gone = await start_braid(recorded, "why", "asked/5/1@000000000000")
    assert await gone.wait() == 3


async def test_record_with_follow_records_until_interrupted(recorded: Settings, hand: bytes, tmp_path: Path) -> None:
    path = tmp_path / "following.mcap"
    process = await start_braid(recorded, "record", str(path), "--follow", "--since", "0", "--json")
    assert process.stderr is not None
    assert b"recording" in await process.stderr.readline()
    await play_session(recorded, "followed", hand)
    await wait_for_predictions(recorded, "followed")
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["records"]["recorded.media.text.v1"] >= 8
    same = await run_braid_json(recorded, "replay", str(path))
    assert same["identical"]
    assert same["windows"]["identical"] >= 8
    assert same["predictions"]["identical"] >= 8
