"""A window record is put together from parts: what comes out is the canonical JSON of its content."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.contract import canonical, window
from services.contract.window import Member, Window, WindowMembers

# Quotes, backslashes, control characters, several scripts: all that UTF-8 has, and no half of a pair.
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
def test_the_record_is_the_canonical_json_of_its_content_whatever_the_names_hold(one: Window) -> None:
    assert window.encode(one) == canonical.dumps(content_of(one))
    assert one.digest == digest_of(one)
    assert one.id == content_of(one)["id"]


@given(WINDOWS)
def test_a_record_read_back_is_the_same_window_and_gives_the_same_bytes(one: Window) -> None:
    raw = window.encode(one)
    again = window.decode(raw)
    assert again == one
    assert window.encode(again) == raw
