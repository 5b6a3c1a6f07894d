"""The alignment config: membership, closing and its digest."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import canonical
from services.contract.alignment_config import (
    AlignmentConfig,
    Quotas,
    StreamConfig,
    config_from_json,
    decode_record,
    encode_record,
)

OTHER = AlignmentConfig(
    size_us=7,
    hop_us=3,
    streams={"b": StreamConfig(1, True), "a": StreamConfig(2, False)},
    sessions=(("hall*", ("a",)), ("hall 1", ("b",)), ("*", ("a", "b"))),
)


def test_the_digest_of_the_default_settings_is_that_of_the_windows_written_so_far() -> None:
    # If this fails, a default has changed and all existing logs need `braid migrate-settings`: write it in CHANGELOG.md.
    assert AlignmentConfig().digest == "9d6353936a05"


def test_other_settings_give_another_digest() -> None:
    names = {
        OTHER.digest,
        replace(OTHER, hop_us=4).digest,
        replace(OTHER, streams={"a": StreamConfig(2, False)}).digest,
    }
    names |= {replace(OTHER, sessions=()).digest, replace(OTHER, event_gap_us=1).digest}
    names |= {replace(OTHER, lead_us=lead_us).digest for lead_us in (None, 0)}
    names |= {replace(OTHER, clocks=(("cam", clock),)).digest for clock in ("arrival", "device")}
    assert len(names) == 9
    assert {len(name) for name in names} == {12}


@pytest.mark.parametrize(
    "settings",
    [
        AlignmentConfig(),
        AlignmentConfig(quotas=Quotas(source_sessions_max=None)),
        OTHER,
        replace(OTHER, clocks=(("cam", "arrival"),)),
    ],
)
def test_settings_survive_a_round_trip_through_json(settings: AlignmentConfig) -> None:
    read = config_from_json(canonical.loads_object(canonical.dumps(settings.to_json())))
    assert read == settings
    assert read.digest == settings.digest
    with pytest.raises(FrozenInstanceError):
        read.hop_us = 1  # type: ignore[misc]


def test_settings_of_version_0_1_keep_their_digest_so_that_they_can_be_migrated() -> None:
    former = replace(
        AlignmentConfig(),
        future_us=60_000_000,
        lead_us=None,
        quotas=None,
        window_bytes_max=None,
        isolation_level="read_uncommitted",
    )
    assert former.digest == "6dc73f63303c"
    assert decode_record(encode_record(former)) == former


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/devices/cam/front", True),
        ("/devices/cam", True),
        ("/devices/cam/exact", False),
        ("cam", True),
        ("/devices/camera/front", False),
        ("/devices/", False),
        ("urn:x", True),
    ],
)
def test_clock_of_a_source_is_that_of_its_own_entry_or_of_its_device(source: str, expected: bool) -> None:
    clocks = (("/devices/cam/exact", "device"), ("cam", "arrival"), ("urn:x", "arrival"))
    assert replace(OTHER, clocks=clocks).uses_append_time(source) is expected
    assert not OTHER.uses_append_time(source)


def test_settings_of_another_contract_are_rejected() -> None:
    with pytest.raises(ValueError, match="version 0"):
        config_from_json(replace(OTHER, contract=0).to_json())
    with pytest.raises(KeyError):
        config_from_json({})


def test_a_session_has_the_modalities_of_the_first_matching_pattern_in_the_order_of_the_streams() -> None:
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
