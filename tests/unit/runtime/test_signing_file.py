"""The file with the signing secret: made once, private, and an error that says what to do where it is damaged."""

from __future__ import annotations

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.contract.signature import Signer
from services.kafka.signing_secret import make_secret
from services.runtime.settings import Settings, SettingsError, load
from services.runtime.settings.signing_file import create_signing_file, read_signing_file

SECRET = "a secret of 32 characters or more"


def with_file(path: Path, **kafka: object) -> Settings:
    return load(kafka={"signing_file": path, **kafka})


def test_the_secret_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "signing.json"
    assert not read_signing_file(path).secrets
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: create_signing_file(path, 0), range(8)))
    signer = read_signing_file(path)
    assert len(signer.secrets) == 1
    assert len(signer.secrets[0]) == 64
    assert signer.accept_unsigned_before_ms == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    create_signing_file(path, 0)
    assert read_signing_file(path) == signer
    assert [p.name for p in path.parent.iterdir()] == ["signing.json"]


def test_a_secret_for_new_topics_accepts_nothing_unsigned_and_one_for_existing_topics_what_they_hold(
    tmp_path: Path,
) -> None:
    new, existing = with_file(tmp_path / "new.json"), with_file(tmp_path / "existing.json")
    make_secret(new, ["another.topic"])
    assert new.kafka.signer().accept_unsigned_before_ms == 0
    before_ms = int(time.time() * 1000)
    make_secret(existing, [existing.topic_names().frontier], rolling_s=600)
    assert existing.kafka.signer().accept_unsigned_before_ms >= before_ms + 600_000


def test_secrets_in_the_settings_come_before_the_file_and_no_file_is_made(tmp_path: Path) -> None:
    settings = with_file(tmp_path / "signing.json", signing_secrets=[SECRET, SECRET + "2"])
    make_secret(settings, [])
    assert not (tmp_path / "signing.json").exists()
    assert settings.kafka.signer() == Signer((SECRET.encode(), (SECRET + "2").encode()))


def test_the_time_in_the_settings_comes_before_that_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "signing.json"
    create_signing_file(path, 1_000_000)
    assert with_file(path).kafka.signer().accept_unsigned_before_ms == 1_000
    later = with_file(path, accept_unsigned_before="1970-01-01T00:00:07Z")
    assert later.kafka.signer().accept_unsigned_before_ms == 7_000


def test_a_folder_that_cannot_be_written_leaves_the_topics_unsigned(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = with_file(tmp_path / "file" / "signing.json")
    make_secret(settings, [])
    assert not settings.kafka.signer().secrets


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"secrets": []}),
        json.dumps({"secrets": SECRET}),
        json.dumps({"secrets": ["short"]}),
        json.dumps({"secrets": [7]}),
        json.dumps({"secrets": [SECRET], "accept_unsigned_before": "yesterday"}),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "signing.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"signing\.json"):
        read_signing_file(path)


def test_the_former_name_of_the_secrets_is_accepted() -> None:
    assert load(kafka={"tick_secret": [SECRET]}).kafka.signer().secrets == (SECRET.encode(),)
