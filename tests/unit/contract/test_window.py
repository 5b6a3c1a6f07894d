"""Window records are canonical JSON, and every decoder reads them back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import canonical, window
from services.contract.window import NAME_LENGTH_MAX, Member, Window, WindowDecoder, WindowMembers

# All of UTF-8: quotes, backslashes, control characters; no lone surrogates.
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBER = st.integers(-(1 << 62), 1 << 62)
MEMBERS = st.builds(Member, TEXT, TEXT, NUMBER, NUMBER, TEXT, st.integers(0, 9), st.integers(0, 1 << 40))
LANES = st.builds(
    WindowMembers, TEXT, st.none() | TEXT, st.none() | NUMBER, st.lists(MEMBERS, max_size=3).map(tuple[Member, ...])
)
WINDOWS = st.builds(
    Window,
    TEXT,
    NUMBER,
    NUMBER,
    st.none() | NUMBER,
    st.booleans(),
    TEXT,
    st.dictionaries(TEXT, LANES, max_size=3),
    NUMBER,
    NUMBER,
)


def digest_of(w: Window) -> str:
    content = {
        name: [lane.state, lane.evidence, [[m.source, m.id, m.t_us, m.duration_us, m.sha256] for m in lane.members]]
        for name, lane in w.modalities.items()
    }
    return hashlib.sha256(canonical.dumps(content)).hexdigest()


def content_of(w: Window) -> dict[str, Any]:
    digest = digest_of(w)
    return {
        "id": f"{w.session}/{w.start_us // 1000}/" + ("1" if w.final else f"0-{digest[:6]}"),
        "session": w.session,
        "start_us": w.start_us,
        "end_us": w.end_us,
        "previous_us": w.previous_us,
        "revision": 1 if w.final else 0,
        "final": w.final,
        "config": w.config,
        "digest": digest,
        "modalities": {
            name: {
                "state": lane.state,
                "evidence": lane.evidence,
                "bound_us": lane.bound_us,
                "members": [
                    {
                        "source": m.source,
                        "id": m.id,
                        "t_us": m.t_us,
                        "duration_us": m.duration_us,
                        "sha256": m.sha256,
                        "at": [m.partition, m.offset],
                    }
                    for m in lane.members
                ],
            }
            for name, lane in w.modalities.items()
        },
        "opened_us": w.opened_us,
        "closed_us": w.closed_us,
    }


@given(WINDOWS)
def test_encoded_window_is_the_canonical_json_of_its_content(one: Window) -> None:
    assert window.encode(one) == canonical.dumps(content_of(one))
    assert one.digest == digest_of(one)
    assert one.id == content_of(one)["id"]


@given(WINDOWS)
def test_decoded_window_equals_the_original_and_encodes_to_the_same_bytes(one: Window) -> None:
    raw = window.encode(one)
    again = window.decode(raw)
    assert again == one
    assert window.encode(again) == raw


# A text that looks like parts of a record.
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
def test_window_decoder_decodes_a_series_of_windows_like_each_alone(
    windows: Sequence[Window], members_max: int
) -> None:
    decoder = WindowDecoder(members_max)
    for one in (*windows, *windows):
        read = decoder.decode_or_none(window.encode(one))
        assert read == one
        assert read is not None
        assert window.encode(read) == window.encode(one)


def test_member_of_two_windows_is_one_object() -> None:
    decoder = WindowDecoder()
    first, second = (decoder.decode_or_none(window.encode(ONE)) for _ in range(2))
    assert first == second == ONE
    assert first is not None
    assert second is not None
    for name, lane in first.modalities.items():
        assert [id(m) for m in lane.members] == [id(m) for m in second.modalities[name].members]
    assert first.modalities["audio"].members[0] == MEMBER


@given(st.data())
def test_window_decoder_treats_broken_records_like_the_plain_decoder(data: st.DataObject) -> None:
    raw = window.encode(ONE)
    at, length = data.draw(st.integers(0, len(raw))), data.draw(st.integers(0, 3))
    broken = raw[:at] + data.draw(st.sampled_from([b"", b"1", b'"', b"}", b",", b"\xff", b" "])) + raw[at + length :]
    decoder = WindowDecoder()
    decoder.decode_or_none(raw)
    assert decoder.decode_or_none(broken) == window.decode_or_none(broken)


@pytest.mark.parametrize(
    "change",
    [
        (b'"final":true', b'"final":true,"final":true'),
        (b'"t_us":7}', b'"t_us":7,"t_us":7}'),
        (b'"t_us":7}', b'"t_us":NaN}'),
        (b'"t_us":7}', b'"t_us":7,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
)
def test_record_that_is_not_strict_json_is_no_window(change: tuple[bytes, bytes]) -> None:
    raw = window.encode(ONE)
    assert change[0] in raw
    decoder = WindowDecoder()
    assert decoder.decode_or_none(raw) == ONE
    assert decoder.decode_or_none(raw.replace(*change)) is None
    assert decoder.decode_or_none(None) is None


def test_member_with_a_long_name_is_decoded_but_not_remembered() -> None:
    lane = WindowMembers("present", "data", 1, (Member("/mic", "x" * (NAME_LENGTH_MAX + 1), 6, 0, "cd", 0, 1),))
    long = replace(ONE, modalities={"audio": lane})
    decoder = WindowDecoder()
    first, second = (decoder.decode_or_none(window.encode(long)) for _ in range(2))
    assert first == second == long
    assert first is not None
    assert second is not None
    assert first.modalities["audio"].members[0] is not second.modalities["audio"].members[0]


def test_record_that_is_not_canonical_is_decoded() -> None:
    raw = window.encode(ONE).replace(b'"t_us":7}', b'"t_us": 7}')
    assert WindowDecoder().decode_or_none(raw) == ONE
