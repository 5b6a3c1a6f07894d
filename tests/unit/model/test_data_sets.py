"""The shipped data sets: labels come from the manifest; fixed and random degradations have the same distribution."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.data.augment import replace_digit, replace_digit_by_number
from model.data.degradations import (
    HOMOPHONES,
    LAWS,
    SEVERITIES,
    degrade_pixels,
    draw_audio,
    draw_image,
    draw_text,
    find_digit_word,
    mix_noise,
    place_on_canvas,
)
from model.data.homesound10 import GROUPS, Homesound10
from model.data.shards import find_file
from model.data.splits import read_jsonl
from model.data.tridigit import Tridigit
from services.runtime.settings import ROOT

DATA = ROOT / "data"


def copy(name: str, target: Path) -> None:
    """Write a member of the set's shards to a file of its own."""
    target.write_bytes(find_file(DATA / "tridigit" / name).read_bytes())


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a few rows of tridigit with file names and an order that do not reveal the labels."""
    folder = tmp_path_factory.mktemp("renamed")
    (folder / "noise8k").mkdir()
    noise = next(read_jsonl(DATA / "tridigit" / "noise8k" / "noise.jsonl"))
    copy(f"noise8k/{noise['noise']}.flac", folder / "noise8k" / "a.flac")
    (folder / "noise8k" / "noise.jsonl").write_text(json.dumps({"noise": "a"}))
    rows_by_split: dict[str, list[dict[str, object]]] = {"train": [], "val": [], "test": []}
    for row in read_jsonl(DATA / "tridigit" / "manifest.jsonl"):
        if len(rows_by_split[row["split"]]) < 6:
            number = sum(map(len, rows_by_split.values()))
            copy(row["speech"], folder / f"{number}.flac")
            copy(row["hand"], folder / f"{number}.jpg")
            for severity in ("noisy", "harsh"):
                row[severity]["noise"] = "a"
            rows_by_split[row["split"]].append(
                row | {"id": f"r{number}", "speech": f"{number}.flac", "hand": f"{number}.jpg"}
            )
    everything = [json.dumps(row) for part in rows_by_split.values() for row in part]
    (folder / "manifest.jsonl").write_text("\n".join(everything))
    (folder / "conflict.jsonl").write_text("")
    return folder


def test_labels_come_from_the_manifest_and_not_from_file_names(renamed: Path) -> None:
    examples = Tridigit(renamed).samples("test", "clean")
    original = Tridigit(DATA / "tridigit", limit=6).samples("test", "clean")
    assert [e.label for e in examples] == [e.label for e in original]
    assert [e.text for e in examples] == [e.text for e in original]
    assert all(np.array_equal(a.value("audio"), b.value("audio")) for a, b in zip(examples, original, strict=True))


def test_a_degraded_sample_follows_its_row(renamed: Path) -> None:
    data = Tridigit(renamed)
    rows_by_id = {row["id"]: row for row in read_jsonl(renamed / "manifest.jsonl")}
    for severity in ("noisy", "harsh"):
        for example in data.samples("test", severity):
            row = rows_by_id[example.id][severity]
            x, y, width, height = row["image"]["occlude"]
            assert example.text == row["text"]
            assert example.video is not None
            assert (example.video[y : y + height, x : x + width] == 0).all()
            assert example.audio is not None
            assert example.audio.dtype == np.float32
            assert len(example.audio) == 16_000


def test_an_epoch_depends_only_on_its_seed(renamed: Path) -> None:
    data = Tridigit(renamed)
    first, repeated, other = (data.epoch(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [(e.id, e.text) for e in first] == [(e.id, e.text) for e in repeated]
    assert all(np.array_equal(a.value("video"), b.value("video")) for a, b in zip(first, repeated, strict=True))
    assert [(e.id, e.text) for e in first] != [(e.id, e.text) for e in other]


def test_noise_has_the_level_of_the_degradation_law() -> None:
    rng = np.random.default_rng(3)
    speech, noise = rng.normal(0, 300, 4_000).astype(np.float32), rng.normal(0, 200, 16_000).astype(np.float32)
    for _ in range(20):
        noisy = draw_audio(speech, [noise], "harsh", rng)
        rest = noisy[np.abs(noisy) > 0]
        assert len(noisy) == 16_000
        assert np.abs(rest).max() <= 32_767
    quiet = mix_noise(speech, noise, 100, 0.0, 1.0)
    assert np.array_equal(quiet, np.round(place_on_canvas(speech, 100)))


def test_an_image_is_made_coarse_then_dark_then_covered() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    degraded = degrade_pixels(pixels, 0.5, 8, (10, 20, 30, 35))
    assert (degraded[20:55, 10:40] == 0).all()
    assert (degraded[:8, :8] == np.round(pixels[:8, :8].astype(np.float32).mean((0, 1)) * 0.5)).all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_random_corruption_has_the_shares_of_the_degradation_law(severity: str) -> None:
    rng = np.random.default_rng(5)
    text, count = "please rate this current book four out of six stars", 2_000
    intact = misheard = 0
    for _ in range(count):
        words = draw_text(text, 4, severity, rng).split()  # type: ignore[arg-type]
        intact += find_digit_word(words, 4) is not None
        misheard += any(word in HOMOPHONES[4] for word in words)
    law = LAWS.get(severity)
    expected = (1.0, 0.0) if law is None else (1 - law.misheard - law.number_dropped, law.misheard)
    assert (intact / count, misheard / count) == pytest.approx(expected, abs=0.04)
    image = np.full((64, 64, 3), 200, np.uint8)
    dark = [float(draw_image(image, severity, rng).max()) / 200 for _ in range(200)]  # type: ignore[arg-type]
    low, high = (1.0, 1.0) if law is None else law.gain
    assert low - 0.02 <= min(dark) <= max(dark) <= high + 0.02


def test_the_groups_of_homesound10_share_no_recording() -> None:
    manifest_rows = list(read_jsonl(DATA / "homesound10" / "manifest.jsonl"))
    sources = [{r["source_id"] for r in manifest_rows if r["fold"] in group} for group in GROUPS]
    assert not sources[0] & (sources[1] | sources[2])
    assert not sources[1] & sources[2]
    data = Homesound10(DATA / "homesound10", GROUPS[0])
    held_out = {e.id for e in data.samples("test", "clean")}
    assert held_out == {r["id"] for r in manifest_rows if r["fold"] in GROUPS[0]}
    assert not held_out & {e.id for e in data.epoch(np.random.default_rng(0))}


def test_a_replaced_digit_stands_in_the_place_of_the_old_one() -> None:
    rng = np.random.default_rng(2)
    texts = {replace_digit("Rate it four of 6 stars", 4, 7, rng) for _ in range(50)}
    assert texts == {"Rate it seven of 6 stars", "Rate it 7 of 6 stars"}
    assert replace_digit("no number here", 4, 7, rng) == "no number here"


def test_a_digit_replaced_by_a_number_leaves_no_digit() -> None:
    rng = np.random.default_rng(2)
    texts = {replace_digit_by_number("Rate it four of 6 stars", 4, rng).split()[2] for _ in range(200)}
    assert {"eleven", "twenty"} < texts
    assert all(int(word) >= 10 for word in texts if word.isdigit())
    assert not texts & {"four", "4"}
