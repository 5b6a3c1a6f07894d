"""The settings that are part of the result: what they say of membership and closing, and the digest that names them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import canonical
from services.contract.alignment_config import AlignmentConfig, StreamConfig, config_from_json

OTHER = AlignmentConfig(
    size_us=7,
    hop_us=3,
    streams={"b": StreamConfig(1, True), "a": StreamConfig(2, False)},
    sessions=(("hall*", ("a",)), ("hall 1", ("b",)), ("*", ("a", "b"))),
)


def test_the_default_settings_have_the_name_under_which_windows_were_written() -> None:
    # Where this fails a default has changed: every log written so far needs `braid migrate-settings` then. Say so in CHANGELOG.
    assert AlignmentConfig().digest == "6dc73f63303c"


def test_any_other_setting_gives_another_name() -> None:
    names = {
        OTHER.digest,
        replace(OTHER, hop_us=4).digest,
        replace(OTHER, streams={"a": StreamConfig(2, False)}).digest,
    }
    names |= {replace(OTHER, sessions=()).digest, replace(OTHER, event_gap_us=1).digest}
    assert len(names) == 5
    assert {len(name) for name in names} == {12}


@pytest.mark.parametrize("settings", [AlignmentConfig(), OTHER], ids=["default", "other"])
def test_settings_that_were_written_as_json_read_back_the_same(settings: AlignmentConfig) -> None:
    read = config_from_json(canonical.loads_object(canonical.dumps(settings.to_json())))
    assert read == settings
    assert read.digest == settings.digest
    with pytest.raises(FrozenInstanceError):
        read.hop_us = 1  # type: ignore[misc]


def test_settings_of_another_contract_are_refused() -> None:
    with pytest.raises(ValueError, match="version 0"):
        config_from_json(replace(OTHER, contract=0).to_json())
    with pytest.raises(KeyError):
        config_from_json({})


def test_a_session_has_the_modalities_of_the_first_pattern_that_matches_in_the_order_of_the_lanes() -> None:
    assert OTHER.modalities == ("b", "a")
    assert OTHER.modalities_of("hall 1") == ("a",)
    assert OTHER.modalities_of("kitchen") == ("b", "a")
    assert replace(OTHER, sessions=OTHER.sessions[:1]).modalities_of("kitchen") == ("b", "a")


# windows of 7 every 3:  [-3, 4) [0, 7) [3, 10) [6, 13)
def test_a_window_closes_at_its_end_plus_the_lateness_of_the_modality() -> None:
    assert [OTHER.closing_watermark_us(-3, modality) for modality in OTHER.modalities] == [5, 6]


@given(st.integers(-50, 50), st.integers(0, 20), st.integers(1, 12), st.integers(1, 12))
def test_a_chunk_belongs_to_the_windows_of_the_grid_that_it_overlaps_and_to_no_others(
    t: int, duration: int, size: int, hop: int
) -> None:
    found = list(replace(OTHER, size_us=size, hop_us=hop).window_starts(t, duration))
    grid = range(-100 * hop, 101 * hop, hop)
    covered = range(t, t + max(duration, 1))  # a point occupies its own microsecond
    assert found == [start for start in grid if set(covered) & set(range(start, start + size))]
