"""A model of a task serves in the fusion worker like the model of the streams: other labels, other modalities."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from model.checkpoint import load, save
from model.task.build import FOLD
from model.task.network import Architecture, TaskNetwork
from services.contract.window import Lane, Member, Window
from services.fusion.__main__ import decision_of
from services.fusion.infer import Inference
from services.payloads.place import place_of
from services.payloads.redis_window import Payload
from tests.unit.model.small_set import LABELS, VECTOR_SIZE, WORDS, config

PCM = b"\x10\x20" * 8_000
TEXT = b"the high tone"


def member(modality: str, body: bytes) -> Member:
    return Member("/dev/" + modality, "1", 0, 1_000_000, hashlib.sha256(body).hexdigest(), 0, 0)


def window(**bodies: bytes) -> Window:
    lanes = {
        m: Lane("present", "data", 2_000_000, (member(m, bodies[m]),)) if m in bodies else Lane("absent", "tick", 0, ())
        for m in ("text", "video", "audio")
    }
    return Window("room", 0, 2_000_000, None, True, "c", lanes, 0, 0)


@pytest.mark.parametrize(("modalities", "segments"), [(("text", "video", "audio"), 4), (("text", "audio"), 8)])
def test_a_model_of_a_task_answers_for_a_window(tmp_path: Path, modalities: tuple[str, ...], segments: int) -> None:
    told = config(segments_per_sample=segments, architecture={"modalities": list(modalities), "fusion": "gated"})
    save(tmp_path / "m", TaskNetwork(Architecture(modalities, len(LABELS), len(WORDS), VECTOR_SIZE, "gated")), told, "")
    inference = Inference(load(tmp_path / "m", "cpu"), 1_000_000)
    seen = window(text=TEXT, audio=PCM)
    found = {
        place_of("text", seen.modalities["text"].members[0]): Payload("text/plain", TEXT),
        place_of("audio", seen.modalities["audio"].members[0]): Payload("audio/pcm;rate=8000", PCM),
    }
    (predicted,) = inference.predict([seen], found)
    answer = json.loads(predicted.value)
    assert answer["label"] in LABELS
    assert predicted.answer.error is None
    assert {m: answer["modalities"][m]["state"] for m in ("text", "audio")} == {"text": "present", "audio": "present"}
    assert [set(c["without"]) for c in answer["counterfactuals"]] == [{"text"}, {"audio"}, {"text", "audio"}]
    for c in answer["counterfactuals"]:
        e = inference.explain(predicted.rows, frozenset({"text", "audio"} - set(c["without"])))
        assert (c["label"], c["confidence"]) == (e.label, round(e.confidence, 6))
    (again,) = inference.predict([seen], found)
    assert again.value == predicted.value


def test_the_fold_knows_the_labels_of_whatever_model_serves(tmp_path: Path) -> None:
    told = config(decision=FOLD)
    save(
        tmp_path / "m",
        TaskNetwork(Architecture(("text",), len(LABELS), len(WORDS), VECTOR_SIZE, "late")),
        told | {"architecture": {"modalities": ["text"], "fusion": "late"}},
        "",
    )
    decision = decision_of(Inference(load(tmp_path / "m", "cpu"), 1_000_000))
    assert decision.kinds == dict.fromkeys(LABELS, "label")
