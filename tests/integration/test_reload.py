"""A running worker loads a newer checkpoint without a gap and ignores a broken one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from model.checkpoint_files import CARD, CHECKSUMS, CONFIG, WEIGHTS, verify
from services.kafka import clients, topic_admin
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load
from tests.integration.session import play_session, wait_for_predictions
from tests.waiting import wait_until

OWN = {"BRAID_TOPICS__PREFIX": "reloaded", "BRAID_TOPICS__PARTITIONS": "1", "BRAID_KAFKA__GROUP_PREFIX": "reloaded"}


def add_version(folder: Path, whole: bool) -> None:
    """Copy the shipped checkpoint under another version, or truncate it."""
    files = verify(load().fusion.model)
    config = json.loads(files[CONFIG]) | {"version": folder.name}
    contents = {WEIGHTS: files[WEIGHTS], CONFIG: json.dumps(config).encode(), CARD: files[CARD]}
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content if whole else content[:-9])
    (folder / CHECKSUMS).write_text("".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in contents.items()))


async def test_a_newer_checkpoint_is_loaded_without_a_gap_and_a_broken_one_is_rejected(
    stack: LocalStack, tmp_path: Path, hand: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    add_version(models / "1", whole=True)
    environment = {**stack.environment(), **OWN, "BRAID_FUSION__MODEL": str(models), "BRAID_FUSION__RELOAD_S": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings: Settings = load()
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.create_missing_topics(admin, settings)
    services = {name: ServiceProcess(name, tmp_path, environment, 7) for name in ("aligner", "fusion")}
    fusion = services["fusion"]

    async def reloads(count: int) -> bool | None:
        return fusion.read_metric("braid_model_reloads_total") >= count or None

    try:
        for service in services.values():
            service.start()
        for service in services.values():
            await service.wait_until_ready()
        await play_session(settings, "before", hand)
        assert {p["model"]["version"] for p in await wait_for_predictions(settings, "before")} == {"1"}
        add_version(models / "2", whole=True)
        await wait_until(lambda: reloads(1), "the newer checkpoint to serve")
        add_version(models / "3", whole=False)
        await wait_until(lambda: reloads(2), "the broken checkpoint to be refused")
        await play_session(settings, "after", hand)
        predictions = await wait_for_predictions(settings, "after")
        assert {p["model"]["version"] for p in predictions} == {"2"}
        assert len({p["window"]["start"] for p in predictions}) == len(predictions)
        assert [await service.child.stop() for service in services.values()] == [0, 0]
    finally:
        for service in services.values():
            service.child.kill()
        shutil.rmtree(models)
