"""A reader that remembers members reads every record like one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import window
from services.contract.window import Member, Window, WindowMembers
from services.contract.window_reader import BODY_MAX, WindowReader
from tests.unit.contract.test_window import WINDOWS

# Texts that look like the signs by which a record is taken apart.
SIGN = '{"at":[1,2],"x":"}],"state":"'
MEMBER = Member(SIGN, '}]},"', 5, 10, "ab", 3, 4)
ONE = Window(
    SIGN,
    0,
    2_000_000,
    None,
    True,
    "c",
    {
        "audio": WindowMembers("present", "data", 1, (MEMBER, Member("/mic", SIGN, 6, 0, "cd", 0, 1))),
        "text": WindowMembers("absent", "tick", None, ()),
        "video": WindowMembers("present", SIGN, 2, (Member("/cam", "1", 7, 0, "ef", 1, 1),)),
    },
    1,
    2,
)


@given(st.lists(WINDOWS, min_size=1, max_size=4), st.integers(1, 4))
def test_windows_one_after_the_other_are_read_as_each_alone(windows: Sequence[Window], members_max: int) -> None:
    reader = WindowReader(members_max)
    for one in (*windows, *windows):
        read = reader.read(window.encode(one))
        assert read == one
        assert read is not None
        assert window.encode(read) == window.encode(one)


def test_a_member_of_two_windows_is_one_object() -> None:
    reader = WindowReader()
    first, second = (reader.read(window.encode(ONE)) for _ in range(2))
    assert first == second == ONE
    assert first is not None
    assert second is not None
    for name, lane in first.modalities.items():
        assert [id(m) for m in lane.members] == [id(m) for m in second.modalities[name].members]
    assert first.modalities["audio"].members[0] == MEMBER


@given(st.data())
def test_what_is_broken_anywhere_is_read_as_ever(data: st.DataObject) -> None:
    raw = window.encode(ONE)
    at, length = data.draw(st.integers(0, len(raw))), data.draw(st.integers(0, 3))
    broken = raw[:at] + data.draw(st.sampled_from([b"", b"1", b'"', b"}", b",", b"\xff", b" "])) + raw[at + length :]
    reader = WindowReader()
    reader.read(raw)
    assert reader.read(broken) == window.decode_or_none(broken)


@pytest.mark.parametrize(
    "change",
    [
        (b'"final":true', b'"final":true,"final":true'),
        (b'"t_us":7}', b'"t_us":7,"t_us":7}'),
        (b'"t_us":7}', b'"t_us":NaN}'),
        (b'"t_us":7}', b'"t_us":7,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
)
def test_what_is_no_strict_json_is_no_window(change: tuple[bytes, bytes]) -> None:
    raw = window.encode(ONE)
    assert change[0] in raw
    reader = WindowReader()
    assert reader.read(raw) == ONE
    assert reader.read(raw.replace(*change)) is None
    assert reader.read(None) is None


def test_a_member_of_any_length_is_read_and_a_long_one_is_not_kept() -> None:
    lane = WindowMembers("present", "data", 1, (Member("/mic", "x" * BODY_MAX, 6, 0, "cd", 0, 1),))
    long = replace(ONE, modalities={"audio": lane})
    reader = WindowReader()
    first, second = (reader.read(window.encode(long)) for _ in range(2))
    assert first == second == long
    assert first is not None
    assert second is not None
    assert first.modalities["audio"].members[0] is not second.modalities["audio"].members[0]


def test_a_record_in_another_order_is_read_too() -> None:
    raw = window.encode(ONE).replace(b'"t_us":7}', b'"t_us": 7}')
    assert WindowReader().read(raw) == ONE
