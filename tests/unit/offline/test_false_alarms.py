"""Synthetic streams without labels: a seed makes them reproducible, and every event in them is a false alarm."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from model.checkpoint import load as load_model
from model.data.background_streams import BackgroundStream, background_streams
from model.data.homestream import SOURCES
from model.data.splits import load_digits
from model.labels import SOUNDS
from services.cli import main
from services.fusion.event_detector import EventDetector
from services.fusion.inference import Inference
from services.offline.evaluation.false_alarms import count_false_alarms, run_background_streams
from services.offline.evaluation.run_stream import StreamRun, final_events
from services.runtime.settings import ROOT

DATA = ROOT / "data"
MINUTES = 2


@pytest.fixture(scope="module")
def streams() -> list[BackgroundStream]:
    return list(background_streams(DATA, "test", 3, 2, 60))


@pytest.fixture(scope="module")
def inference() -> Inference:
    return Inference(load_model(ROOT / "models" / "home" / "1", "cpu"), 64 * 1024 * 1024)


@pytest.fixture(scope="module")
def played(inference: Inference) -> list[StreamRun]:
    return list(run_background_streams(inference, DATA, "test", 3, MINUTES * 60))


def test_the_same_seed_makes_the_same_streams_and_another_seed_others(streams: list[BackgroundStream]) -> None:
    def first(seed: int) -> Iterator[BackgroundStream]:
        return background_streams(DATA, "test", seed, 1, 60)

    (again,), (other,) = first(3), first(4)
    assert again.messages == streams[0].messages
    assert again.sound.tobytes() == streams[0].sound.tobytes()
    assert other.sound.tobytes() != again.sound.tobytes()


def test_a_quiet_stream_has_sound_pictures_sentences_copies_and_disorder(streams: list[BackgroundStream]) -> None:
    for stream in streams:
        assert stream.sound.shape == (60 * 8_000,)
        arrived = [m.arrived_us for m in stream.messages]
        assert arrived == sorted(arrived)
        assert all(m.arrived_us >= m.t_us + 500_000 for m in stream.messages if m.source == "mic")
    messages = [m for stream in streams for m in stream.messages]
    assert {m.source for m in messages} == set(SOURCES)
    assert any(m.picture is not None for m in messages)
    assert any(m.text is not None for m in messages)
    assert len({(m.source, m.sequence, m.t_us) for m in messages}) < len(messages)


def test_no_sentence_is_one_of_the_set_and_none_names_a_sound(streams: list[BackgroundStream]) -> None:
    real = {d.text for d in load_digits(DATA, "test")}
    named = {part for sound in SOUNDS for part in sound.split("_")}
    for text in (m.text for stream in streams for m in stream.messages if m.text is not None):
        assert text not in real
        assert not [c for c in text if c.isdigit()]
        assert not named & set(text.split())


def test_each_event_is_an_alarm_with_a_modality_and_a_label(inference: Inference, played: list[StreamRun]) -> None:
    hasty = replace(EventDetector.of_model(inference.model), on=0.02, off=0.01, early_on=0.02)
    alarms = count_false_alarms(played, hasty, MINUTES / 60)
    assert alarms.final == sum(len(final_events(offline, hasty)) for offline in played) > 0
    assert alarms.per_hour == pytest.approx(alarms.final * 60 / MINUTES)
    assert sum(alarms.by_modality.values()) == sum(alarms.by_label.values()) == alarms.final
    assert set(alarms.by_modality) <= set(SOURCES.values())


def test_a_detector_that_finds_nothing_gives_no_alarm(inference: Inference, played: list[StreamRun]) -> None:
    silent = replace(EventDetector.of_model(inference.model), on=2.0, early_on=2.0)
    alarms = count_false_alarms(played, silent, MINUTES / 60)
    assert (alarms.final, alarms.withdrawn, alarms.per_hour) == (0, 0, 0.0)


@pytest.mark.slow
def test_evaluate_quiet_prints_false_events_an_hour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["braid", "evaluate", "--quiet", "--hours", "0.02", "--json"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main.main()
    result = json.loads(capsys.readouterr().out)
    assert result["hours"] == pytest.approx(0.02)
    assert result["per_hour"] == pytest.approx(result["final"] / result["hours"], abs=1e-3)
    assert ended.value.code == (1 if result["per_hour"] > 1 else 0)
