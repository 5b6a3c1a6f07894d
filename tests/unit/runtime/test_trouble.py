"""What is said of a setting that cannot be used, and what is never said of it."""

from __future__ import annotations

import pytest

from services.runtime.settings import SettingsError, load


def test_a_value_is_told_but_not_that_of_a_secret() -> None:
    with pytest.raises(SettingsError, match=r"kafka\.group_prefix.*found 7"):
        load(kafka={"group_prefix": 7})
    with pytest.raises(SettingsError, match=r"kafka\.tick_secret") as told:
        load(kafka={"tick_secret": ["hush"]})
    assert "hush" not in str(told.value)
