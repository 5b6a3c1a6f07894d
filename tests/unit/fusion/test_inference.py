"""A model of a task serves in the fusion worker like the model of the streams: other labels, other modalities."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.checkpoint import load, save
from model.fit_and_calibrate import EVENT_THRESHOLDS
from model.network import Architecture, TaskNetwork
from services.contract.kafka_record import MemberPosition
from services.contract.window import Member, Window, WindowMembers, position_of
from services.fusion.event_detector import EventDetector
from services.fusion.event_tracker import EventTracker, is_foldable
from services.fusion.inference import Inference
from services.storage.payload_cache import Payload
from tests.unit.model.media import progressive_jpeg
from tests.unit.model.small_set import LABELS, VECTOR_SIZE, WORDS, config

PCM = b"\x10\x20" * 8_000
TEXT = b"the high tone"


def member(modality: str, body: bytes) -> Member:
    return Member("/dev/" + modality, "1", 0, 1_000_000, hashlib.sha256(body).hexdigest(), 0, 0)


def window(**bodies: bytes) -> Window:
    lanes = {
        m: WindowMembers("present", "data", 2_000_000, (member(m, bodies[m]),))
        if m in bodies
        else WindowMembers("absent", "tick", 0, ())
        for m in ("text", "video", "audio")
    }
    return Window("room", 0, 2_000_000, None, True, "c", lanes, 0, 0)


@pytest.mark.parametrize(("modalities", "segments"), [(("text", "video", "audio"), 4), (("text", "audio"), 8)])
def test_a_model_of_a_task_predicts_a_window(tmp_path: Path, modalities: tuple[str, ...], segments: int) -> None:
    description = config(segments_per_sample=segments, architecture={"modalities": list(modalities), "fusion": "gated"})
    save(
        tmp_path / "m",
        TaskNetwork(Architecture(modalities, len(LABELS), len(WORDS), VECTOR_SIZE, "gated")),
        description,
        "",
    )
    inference = Inference(load(tmp_path / "m", "cpu"), 1_000_000)
    full_window = window(text=TEXT, audio=PCM)
    payloads = {
        position_of("text", full_window.modalities["text"].members[0]): Payload("text/plain", TEXT),
        position_of("audio", full_window.modalities["audio"].members[0]): Payload("audio/pcm;rate=8000", PCM),
    }
    (predicted,) = inference.predict([full_window], payloads)
    answer = json.loads(predicted.record)
    assert answer["label"] in LABELS
    assert predicted.result.error is None
    assert {m: answer["modalities"][m]["state"] for m in ("text", "audio")} == {"text": "present", "audio": "present"}
    assert [set(c["without"]) for c in answer["counterfactuals"]] == [{"text"}, {"audio"}, {"text", "audio"}]
    for c in answer["counterfactuals"]:
        e = inference.explain(predicted.rows, frozenset({"text", "audio"} - set(c["without"])))
        assert (c["label"], c["confidence"]) == (e.label, round(e.confidence, 6))
    (again,) = inference.predict([full_window], payloads)
    assert again.record == predicted.record


def whole(tmp_path: Path) -> tuple[Inference, Window, dict[MemberPosition, Payload]]:
    """Return a model of three modalities and a window with all of them; its two frames are in different slots."""
    modalities = ("text", "video", "audio")
    description = config(
        decision=EVENT_THRESHOLDS,
        segments_per_sample=4,
        architecture={"modalities": list(modalities), "fusion": "gated"},
    )
    save(
        tmp_path / "m",
        TaskNetwork(Architecture(modalities, len(LABELS), len(WORDS), VECTOR_SIZE, "gated")),
        description,
        "",
    )
    made = window(text=TEXT, audio=PCM)
    frames = [Member("/dev/cam", str(t), t, 0, hashlib.sha256(jpeg(t)).hexdigest(), 0, t) for t in (10, 600_000)]
    full_window = replace(
        made, modalities={**made.modalities, "video": WindowMembers("present", "data", 0, tuple(frames))}
    )
    payloads = {
        position_of("text", full_window.modalities["text"].members[0]): Payload("text/plain", TEXT),
        position_of("audio", full_window.modalities["audio"].members[0]): Payload("audio/pcm;rate=8000", PCM),
    }
    payloads |= {position_of("video", f): Payload("image/jpeg", jpeg(f.t_us)) for f in frames}
    return Inference(load(tmp_path / "m", "cpu"), 10_000_000), full_window, payloads


def test_a_member_of_several_windows_is_encoded_once(tmp_path: Path) -> None:
    inference, _, _ = whole(tmp_path)
    rng, hop_us = np.random.default_rng(1), 500_000
    bodies = {("text", 0): (0, 0, TEXT)}
    # Six seconds: an audio chunk every second, a frame in each slot, a sentence at the beginning.
    bodies |= {("audio", n): (n * 1_000_000, 1_000_000, rng.bytes(16_000)) for n in range(6)}
    bodies |= {("video", n): (n * hop_us, 0, jpeg(n)) for n in range(12)}
    members = {
        (modality, n): Member("/dev/" + modality, str(n), t_us, length, hashlib.sha256(body).hexdigest(), 0, n)
        for (modality, n), (t_us, length, body) in bodies.items()
    }
    types = {"text": "text/plain", "audio": "audio/pcm;rate=8000", "video": "image/jpeg"}
    payloads = {position_of(m, members[m, n]): Payload(types[m], body) for (m, n), (_, _, body) in bodies.items()}
    windows = []
    for start_us in range(0, 4_500_000, hop_us):
        lanes = {
            modality: WindowMembers(
                "present",
                "data",
                0,
                tuple(
                    m
                    for (of, _), m in members.items()
                    if of == modality
                    and (of == "text" or (start_us < m.t_us + max(m.duration_us, 1) and m.t_us < start_us + 2_000_000))
                ),
            )
            for modality in types
        }
        windows.append(replace(window(), start_us=start_us, end_us=start_us + 2_000_000, modalities=lanes))
    for begin in range(0, len(windows), 2):
        inference.predict(windows[begin : begin + 2], payloads)
    assert inference.encoded == {"text": 1, "video": 12, "audio": 12}
    # A batch encodes each chunk once: two windows half a second apart have five slots.
    assert inference.requested == {"text": 5, "video": 4 * 5 + 4, "audio": 4 * 5 + 4}
    assert not any(inference.reencoded.values())


@pytest.mark.parametrize("body", [b'{"text": ""}', b'{"text": " . "}', b'{"text": "\\ud83d"}'])
def test_a_text_that_says_nothing_is_absent_and_predicts_like_no_text(tmp_path: Path, body: bytes) -> None:
    inference, _, _ = whole(tmp_path)
    empty = window(text=body)
    payload = Payload("application/json", body)
    (silent,) = inference.predict([empty], {position_of("text", empty.modalities["text"].members[0]): payload})
    (nothing,) = inference.predict([window()], {})
    record = json.loads(silent.record)
    assert record["modalities"]["text"] | {"evidence": "", "age_ms": 0} == {
        "state": "absent",
        "contribution": 0.0,
        "unusable": [],
        "age_ms": 0,
        "evidence": "",
    }
    assert (record["label"], record["confidence"]) == (nothing.result.label, round(nothing.result.confidence, 6))


def test_a_payload_that_is_too_costly_is_unusable_and_its_neighbours_are_used(tmp_path: Path) -> None:
    inference, full_window, payloads = whole(tmp_path)
    first, second = full_window.modalities["video"].members
    payloads[position_of("video", first)] = Payload("image/jpeg", progressive_jpeg(4_000, 4_096))
    values = []
    for _ in range(2):  # The second time from the cache, without the payload.
        (predicted,) = inference.predict([full_window], payloads)
        values.append(predicted.record)
        payloads.pop(position_of("video", first), None)
    assert values[0] == values[1]
    video = json.loads(values[0])["modalities"]["video"]
    assert video["state"] == "present"
    assert video["unusable"] == [{"source": first.source, "id": first.id, "reason": "too_costly"}]
    assert inference.undecoded("video", [first, second]) == []


def test_decoding_a_window_has_a_budget_that_goes_to_its_newest_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference, full_window, payloads = whole(tmp_path)
    monkeypatch.setattr("services.fusion.inference.WINDOW_COST_MAX", 1)
    first, _ = full_window.modalities["video"].members
    # What the cache holds decides nothing: the older frame was decoded for another window.
    alone = replace(full_window, modalities={"video": WindowMembers("present", "data", 0, (first,))})
    (before,) = inference.predict([alone], payloads)
    assert json.loads(before.record)["modalities"]["video"]["unusable"] == []
    (predicted,) = inference.predict([full_window], payloads)
    video = json.loads(predicted.record)["modalities"]["video"]
    assert video["unusable"] == [{"source": first.source, "id": first.id, "reason": "too_costly"}]
    (cold,) = Inference(load(tmp_path / "m", "cpu"), 1).predict([full_window], payloads)
    assert cold.record == predicted.record


def test_a_result_that_is_no_number_fails_its_window_alone(tmp_path: Path) -> None:
    inference, full_window, payloads = whole(tmp_path)
    inputs = inference.decode([full_window, full_window], payloads)
    rows = list(inference.infer(inputs).rows)
    broken, good = inference.to_predictions(inputs, [np.full_like(rows[0], np.nan), rows[1]])
    assert (broken.result.label, broken.result.error) == (None, "UnwritableJson")
    assert good.result.error is None


def test_a_window_that_cannot_be_explained_fails_alone(tmp_path: Path) -> None:
    inference, full_window, payloads = whole(tmp_path)
    inputs = inference.decode([full_window] * 3, payloads)
    rows = list(inference.infer(inputs).rows)
    first, broken, last = inference.to_predictions(inputs, [rows[0], rows[1][:1], rows[2]])
    assert (broken.result.label, broken.result.error) == (None, "IndexError")
    (alone,) = inference.predict([full_window], payloads)
    assert first.record == last.record == alone.record


def test_items_that_are_encoded_again_after_eviction_are_counted(tmp_path: Path) -> None:
    _, full_window, payloads = whole(tmp_path)
    forgetful = Inference(load(tmp_path / "m", "cpu"), 1)
    forgetful.predict([full_window], payloads)
    assert not any(forgetful.reencoded.values())
    once = dict(forgetful.encoded)
    forgetful.predict([full_window], payloads)
    assert forgetful.reencoded == once
    assert forgetful.encoded == {m: 2 * count for m, count in once.items()}


def test_audio_cut_once_for_all_windows_equals_what_each_window_alone_would_cut(tmp_path: Path) -> None:
    inference, one, _ = whole(tmp_path)
    rng, at_us = np.random.default_rng(2), 0
    members, payloads = [], {}
    # The clock jitters, within the joining limit and beyond: the place of a chunk depends on those before it.
    for n in range(60):
        body = rng.bytes(1_600)
        members.append(Member("/mic", str(n), at_us, 100_000, hashlib.sha256(body).hexdigest(), 0, n))
        payloads[position_of("audio", members[-1])] = Payload("audio/pcm;rate=8000", body)
        at_us += int(rng.choice([100_000, 100_125, 112_000, 99_000, 140_000]))
    for start_us in range(0, 4_000_000, 500_000):
        held = tuple(m for m in members if start_us < m.t_us + m.duration_us and m.t_us < start_us + 2_000_000)
        lanes = one.modalities | {"audio": WindowMembers("present", "data", 0, held)}
        full_window = replace(one, start_us=start_us, end_us=start_us + 2_000_000, modalities=lanes)
        (warm,) = inference.predict([full_window], payloads)
        (cold,) = Inference(load(tmp_path / "m", "cpu"), 1).predict([full_window], payloads)
        assert warm.record == cold.record
        assert warm.rows.tobytes() == cold.rows.tobytes()
    assert inference.encoded["audio"] < inference.requested["audio"]


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def test_overload_is_in_the_record_and_its_id_and_gives_the_same_bytes_each_time(
    tmp_path: Path,
) -> None:
    inference, full_window, payloads = whole(tmp_path)
    values = []
    for level in range(4):
        (predicted,) = inference.predict([full_window], payloads, level)
        (alone,) = Inference(load(tmp_path / "m", "cpu"), 1).predict([full_window], payloads, level)
        assert alone.record == predicted.record
        values.append(json.loads(predicted.record))
        assert is_foldable(predicted) == (level < 2)
    assert [v["level"] for v in values] == [0, 0, 2, 3]
    stem = values[0]["id"]
    assert [v["id"] for v in values] == [stem, stem, stem + "+d2", stem + "+d3"]
    gone = inference.model.costliest_modality
    assert values[3]["modalities"][gone] | {"age_ms": 0, "evidence": ""} == {
        "state": "skipped",
        "contribution": 0.0,
        "unusable": [],
        "age_ms": 0,
        "evidence": "",
    }
    assert {m: s["state"] for m, s in values[2]["modalities"].items()} == dict.fromkeys(
        full_window.modalities, "present"
    )
    assert values[2]["score"] != values[0]["score"]


def test_a_degraded_prediction_breaks_the_chain_and_the_next_window_begins_a_new_one(tmp_path: Path) -> None:
    inference, full_window, payloads = whole(tmp_path)
    chains = EventTracker(EventDetector.of_model(load(tmp_path / "m", "cpu")))
    windows = [replace(full_window, start_us=n, previous_us=n - 1 if n else None) for n in range(4)]
    for w, level in zip(windows, (0, 1, 3, 0), strict=True):
        predicted = replace(inference.predict([full_window], payloads, level)[0], window=w)
        chains.update(predicted)
        if level == 3:
            assert chains.last_final_us("room") == 1
    state = chains.states["room"]
    assert (state.chain_us, state.last_us) == (3, 3)


def test_a_window_that_cannot_be_decoded_does_not_affect_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference, full_window, payloads = whole(tmp_path)
    prepare = inference.model.prepare

    def fragile(modality: str, value: Any) -> Any:
        if modality == "text":
            raise ArithmeticError("a mistake in the model's own preparation")
        return prepare(modality, value)

    monkeypatch.setattr(inference.model, "prepare", fragile)
    lanes = {**full_window.modalities, "text": WindowMembers("absent", "tick", 0, ())}
    decoded = inference.decode([full_window, replace(full_window, start_us=5, modalities=lanes)], payloads)
    bad, good = inference.to_predictions(decoded, inference.infer(decoded).rows)
    assert (bad.result.label, bad.result.error, bad.id.endswith("+e")) == (None, "ArithmeticError", True)
    assert good.result.error is None


def test_a_batch_is_split_until_the_window_on_which_the_model_fails_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference, full_window, payloads = whole(tmp_path)
    fuse = inference.model.fuse

    def fragile(windows: Any) -> Any:
        if any("text" not in w.present for w in windows):
            raise RuntimeError("the device cannot")
        return fuse(windows)

    monkeypatch.setattr(inference.model, "fuse", fragile)
    deaf = {**full_window.modalities, "text": WindowMembers("absent", "tick", 0, ())}
    windows = [
        replace(full_window, start_us=n, modalities=deaf if n == 3 else full_window.modalities) for n in range(5)
    ]
    decoded = inference.decode(windows, payloads)
    predicted = inference.to_predictions(decoded, inference.infer(decoded).rows)
    assert [p.result.error for p in predicted] == [None, None, None, "RuntimeError", None]
    assert [p.window.start_us for p in predicted] == [0, 1, 2, 3, 4]


def test_the_detector_has_the_labels_of_the_model(tmp_path: Path) -> None:
    description = config(decision=EVENT_THRESHOLDS)
    save(
        tmp_path / "m",
        TaskNetwork(Architecture(("text",), len(LABELS), len(WORDS), VECTOR_SIZE, "late")),
        description | {"architecture": {"modalities": ["text"], "fusion": "late"}},
        "",
    )
    decision = EventDetector.of_model(load(tmp_path / "m", "cpu"))
    assert decision.kinds == dict.fromkeys(LABELS, "label")
