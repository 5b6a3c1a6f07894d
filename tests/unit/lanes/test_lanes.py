"""Lanes as people on a terminal see them."""

from __future__ import annotations

import pytest
from rich.console import Console

from model.checkpoint import load
from services.contract import canonical, envelope
from services.fusion.infer import Inference
from services.lanes.lanes import COLUMN_US, Lanes
from services.lanes.screen import Screen
from services.recordings.kept import Kept
from services.runtime.settings import ROOT
from tests.unit.replay import made

SENSES = ("text", "video", "audio")
T_US = 1_700_000_000_000_000


def chunk(lanes: Lanes, modality: str, at_us: int, content_type: str, body: bytes) -> None:
    headers = envelope.build(
        session="s",
        source="/d",
        id=str(at_us),
        type=envelope.media_type(modality),
        t_us=T_US + at_us,
        content_type=content_type,
    )
    lanes.chunk(modality, headers, body, T_US + at_us + 1_000_000)


def drawn(lanes: Lanes, columns: int = 12) -> dict[str, str]:
    return {line[:11].strip(): line[12:] for line in lanes.draw(columns, SENSES)}


def test_frames_words_and_loudness_stand_on_one_axis() -> None:
    lanes = Lanes("s")
    chunk(lanes, "video", 0, "image/jpeg", b"\xff\xd8")
    chunk(lanes, "video", 2 * COLUMN_US, "image/jpeg", b"\xff\xd8")
    chunk(lanes, "text", COLUMN_US, "text/plain", b"seven")
    chunk(lanes, "audio", 0, "audio/pcm;rate=8000", bytes(8_000 * 2))
    chunk(lanes, "audio", 2 * COLUMN_US, "audio/pcm;rate=8000", b"\x00\x70" * 4_000)
    found = drawn(lanes, 4)
    assert found["video"] == "▪ ▪ "
    assert found["text"] == " sev"
    assert found["audio"] == "▁▁█ "


def test_first_and_final_answers_and_masks_are_told_apart() -> None:
    lanes = Lanes("s")
    for n, (label, state) in enumerate([("dog", "present"), ("dog", "unknown"), ("rain", "absent")]):
        for final in (False, True) if n < 2 else (False,):
            sense = {"state": state, "contribution": 0.5}
            window = {"start": T_US + n * COLUMN_US, "end": T_US + (n + 4) * COLUMN_US}
            lanes.answer(
                {"window": window, "label": label, "confidence": 0.9, "final": final, "modalities": {"audio": sense}}
            )
    found = drawn(lanes, 7)
    assert found["first"] == "dorain "
    assert found["final"] == "dog    "
    assert found["audio mask"] == "█?     "
    assert lanes.told == "rain 0.90  audio +0.50"


@pytest.mark.parametrize("body", [b"a\x1b[2Jb\n", b"\xff\xfe"])
def test_words_from_outside_move_no_cursor(body: bytes) -> None:
    lanes = Lanes("s")
    chunk(lanes, "text", 0, "text/plain", body)
    assert all(line.isprintable() for line in lanes.draw(12, SENSES))


def test_a_clock_of_the_future_moves_nobodys_axis() -> None:
    lanes = Lanes("s")
    chunk(lanes, "video", 0, "image/jpeg", b"\xff\xd8")
    headers = envelope.build(
        session="s", source="/d", id="x", type="braid.media.video.v1", t_us=T_US * 2, content_type="image/jpeg"
    )
    lanes.chunk("video", headers, b"\xff\xd8", T_US)
    assert lanes.newest_us == T_US


def test_a_whole_stream_is_drawn_and_strangers_records_change_nothing() -> None:
    inference = Inference(load(ROOT / "models" / "home" / "1", "cpu"), 1 << 26)
    console = Console(width=100, height=40, force_terminal=False)
    screen = Screen(made.TOPICS, console)
    wanted = (*made.TOPICS.media_all, made.TOPICS.predictions, made.TOPICS.events)
    strange = [Kept(topic, 0, 0, 5, b"stranger", [], value) for topic in wanted for value in (None, b"", b"{}", b"[")]
    for kept in [*strange, *made.published(inference)]:
        if kept.topic in wanted:
            screen.take(kept.topic, kept.key, kept.headers, kept.value, kept.timestamp * 1000)
    with console.capture() as captured:
        console.print(screen.render())
    seen = captured.get()
    labels = {
        canonical.loads_object(k.value or b"")["label"] for k in made.published(inference) if k.topic == wanted[-1]
    }
    assert labels
    assert all(label in seen for label in labels)
    assert "S01" in seen
    assert "EVENT" in seen
