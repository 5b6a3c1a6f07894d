"""One process at a time uses a state folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.contract.user_errors import EXIT_FAILED
from services.local.folder_lock import FolderInUseError, FolderLock


def test_second_user_of_a_folder_learns_who_has_it_and_where(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    first.describe("the live page is http://127.0.0.1:8640/")
    with pytest.raises(FolderInUseError) as raised:
        second.acquire()
    message = str(raised.value)
    assert f"Process {os.getpid()}" in message
    assert str(tmp_path) in message
    assert "http://127.0.0.1:8640/" in message
    assert "--folder" in message
    assert len(message.splitlines()) == 3
    assert raised.value.exit_code == EXIT_FAILED


def test_released_folder_can_be_locked_again(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    first.release()
    second.acquire()
    with pytest.raises(FolderInUseError):
        first.acquire()
    second.release()


def test_lock_of_a_holder_that_has_not_written_yet_is_refused_too(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    (tmp_path / "lock").write_text('{"pid"')
    with pytest.raises(FolderInUseError, match="in use"):
        second.acquire()
    first.release()
