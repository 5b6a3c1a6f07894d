"""Each target of the fuzzer once: what is in the corpus, and new inputs. The minute of docs/testing.md follows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.slow
def test_no_reader_fails_on_what_it_is_given() -> None:
    rounds = fuzz(0)
    assert rounds.keys() == TARGETS.keys()
    assert all(rounds.values())


@given(st.binary())
def reader_with_a_fault(raw: bytes) -> None:
    """A reader that fails on some bytes."""
    assert b"\xff" not in raw


def test_a_failure_is_found_and_kept(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        fuzz(60, {"planted": reader_with_a_fault}, tmp_path)
    assert any(path.is_file() for path in tmp_path.rglob("*"))
