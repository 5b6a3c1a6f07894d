"""Labels: the inputs of a prediction become a training sample, until the session is forgotten."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import pytest

from model.sample_manifest import UnreadableRow, read_example, read_rows
from services.contract import canonical, cloudevents
from services.contract.kafka_record import KafkaRecord
from services.contract.window import Member
from services.storage.evidence import MemberInput, PredictionEvidence
from services.storage.labels import InvalidLabel, LabelStore, SampleNotRetained, build_sample

START_US, HOP_US = 1_700_000_000_000_000, 500_000
PCM = "audio/pcm;rate=8000;channels=1;format=s16le"


def member_input(
    modality: str, content_type: str, body: bytes, t_us: int, source: str = "d", duration_us: int = 0
) -> MemberInput:
    topic, media_type = f"braid.media.{modality}.v1", cloudevents.media_type(modality)
    headers = cloudevents.build_headers(
        session="s", source=source, id="1", type=media_type, t_us=t_us, content_type=content_type
    )
    member = Member(source, "1", t_us, duration_us, "0" * 64, 0, 0)
    return MemberInput(modality, topic, member, KafkaRecord(topic, 0, 0, t_us // 1000, b"s", headers, body))


def evidence(*inputs: MemberInput, id: str = "s/1/1@m", session: str = "s", **states: str) -> PredictionEvidence:
    modalities = {name: {"state": states.get(name, "present")} for name in ("text", "video", "audio")}
    span = {"start": START_US, "end": START_US + 4 * HOP_US}
    record: dict[str, Any] = {"id": id, "session": session, "label": "dog", "window": span, "modalities": modalities}
    value = canonical.dumps({**record, "final": True, "abstained": False, "confidence": 0.9})
    return PredictionEvidence(KafkaRecord("p", 0, 0, 0, b"s", [], value), inputs=inputs)


def halves(count: int, source: str = "d") -> list[MemberInput]:
    """Return half seconds of audio, from half a second before the window on; each sample has the number of its half."""
    return [
        member_input("audio", PCM, bytes([n, 1]) * 4_000, START_US + (n - 1) * HOP_US, source, HOP_US)
        for n in range(count)
    ]


def test_the_newest_image_all_text_and_the_audio_of_the_window_make_one_sample(hand: bytes) -> None:
    words = [
        member_input("text", "text/plain", b"a dog", START_US),
        member_input("text", "application/json", b'{"text":"barks"}', START_US),
    ]
    images = [
        member_input("video", "image/png", b"old", START_US),
        member_input("video", "image/jpeg", hand, START_US + 1),
    ]
    labelled = build_sample(evidence(*words, *images, *halves(4), *halves(2, "short")), "cat")
    assert (labelled.row["text"], labelled.row["label"], labelled.row["predicted"]) == ("a dog barks", "cat", "dog")
    assert labelled.files["image"] == (".jpg", hand)
    suffix, content = labelled.files["audio"]
    assert suffix == ".wav"
    with wave.open(io.BytesIO(content)) as audio:
        assert (audio.getframerate(), audio.getnframes()) == (8_000, 12_000)
        assert audio.readframes(12_000)[::8_000] == bytes([1, 2, 3]), "audio from before the window is not in it"


def test_muted_inputs_are_left_out_and_no_input_is_an_error(hand: bytes) -> None:
    image = member_input("video", "image/jpeg", hand, START_US)
    assert set(build_sample(evidence(image, *halves(2), video="muted"), "cat").files) == {"audio"}
    with pytest.raises(SampleNotRetained):
        build_sample(evidence(image, video="muted"), "cat")
    for bad in ("", " cat", "x" * 65, "a\nb"):
        with pytest.raises(InvalidLabel):
            build_sample(evidence(image), bad)


def test_the_trainer_reads_the_newest_label_until_the_session_is_forgotten(tmp_path: Path, hand: bytes) -> None:
    store = LabelStore(tmp_path / "labels")
    assert store.forget("s") == 0
    image = member_input("video", "image/jpeg", hand, START_US)
    store.save(build_sample(evidence(image, *halves(3)), "cat"))
    store.save(build_sample(evidence(image, *halves(3)), "bird"))
    store.save(build_sample(evidence(image, id="t/1/1@m", session="t"), "cat"))
    rows = list(read_rows(store.manifest))
    assert [row["label"] for row in rows if isinstance(row, dict)] == ["bird", "cat"]
    for row in rows:
        assert isinstance(row, dict)
        example = read_example(row, store.manifest.parent)
        assert not isinstance(example, UnreadableRow), example
        assert example.value("video") is not None
    assert store.forget("s") == 1
    assert [row["session"] for row in store.rows()] == ["t"]
    assert len([p for p in tmp_path.rglob("*") if p.suffix in (".jpg", ".wav")]) == 1
