"""Whatever stands in a topic, reading it returns a value or raises ContractError: never anything else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.aligner.cached_admission import AdmissionCache
from services.contract import (
    alignment_config,
    canonical,
    cloudevents,
    dead_letter,
    event,
    last_emitted_window,
    mute_and_forget,
    prediction,
    session_reset,
    tick,
    timestamps,
    window,
)
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason, Rejected, make_dead_letter
from services.contract.kafka_record import KafkaRecord, RecordPosition
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.mute_and_forget import Control
from services.contract.record_fields import ContractError
from services.contract.session_reset import GenerationStart, SessionReset
from services.contract.topics import Topics
from services.contract.window import Member, Window, WindowDecoder, WindowMembers
from services.fusion.event_detector import DetectorState, LabelScore, OpenEvent
from services.fusion.recovery import state_of
from services.gateway.messages import MessageDecoder, PageMessage
from services.gateway.sessions import HistoryLimits, SessionStore
from services.inspection.audit.decode_media import decode_media_record

NOW_US = 1_700_000_000_000_000
TOPICS = Topics()
SHA256 = "ab" * 32
MEMBER = Member("/d", "1", NOW_US, 0, SHA256, 0, 5)
WINDOW = Window(
    "s",
    NOW_US,
    NOW_US + 2_000_000,
    None,
    True,
    "c",
    {"text": WindowMembers("present", "data", NOW_US, (MEMBER,)), "audio": WindowMembers("absent", None, None, ())},
    NOW_US,
    NOW_US,
)
STATE = DetectorState(NOW_US, NOW_US, (("7", LabelScore(0.5, NOW_US)),), OpenEvent(NOW_US, "7", NOW_US, NOW_US, 0.5), 1)
PREDICTION = {
    "id": "s/1/1@m",
    "session": "s",
    "window": {"start": NOW_US, "end": NOW_US + 2_000_000, "previous": None, "digest": "d", "config": "c"},
    "final": True,
    "revision": 1,
    "level": 0,
    "label": "7",
    "confidence": 0.5,
    "abstained": False,
    "top": [{"label": "7", "p": 0.5}],
    "modalities": {"text": {"state": "present", "evidence": "data", "age_ms": 1, "contribution": 0.1, "unusable": []}},
    "counterfactuals": [{"without": ["text"], "label": "7", "confidence": 0.1}],
    "model": {"name": "m", "version": "1", "digest": "m"},
    "inputs": [{"at": [0, 5], "id": "1", "modality": "text", "source": "/d", "t_us": NOW_US}],
}
EVENT = event.Event("s/1", "s", "new", "7", "digit", NOW_US, NOW_US, 0.5, NOW_US, True, "s/1/1@m")
CHUNK = Chunk("s", "text", "/d", "1", NOW_US, 0, SHA256, 0, 5, NOW_US)
CONTROL = Control("s", {"text": NOW_US}, {"audio": ((NOW_US, NOW_US + 1),)}, NOW_US)
LETTER = make_dead_letter(RecordPosition("t", 0, 1), "fusion", Rejected(Reason.RECORD, "x"), b"x", ())


def record(topic: str, value: bytes, key: bytes | None = b"s", headers: Any = ()) -> KafkaRecord:
    return KafkaRecord(topic, 0, 5, NOW_US // 1000, key, headers, value)


def show(topic: str, value: bytes) -> None:
    """Read a record as the gateway does, and keep what it shows."""
    store = SessionStore(HistoryLimits(10, 1_000_000, 10**12))
    headers = [("braid-state", value), ("braid-latency", value), ("traceparent", value), ("ce_time", value)]
    for message in MessageDecoder(TOPICS).decode(record(topic, value, headers=headers)):
        assert isinstance(message, PageMessage)
        store.add(message, 1)
    for view in store.views.values():
        canonical.dumps(view.summary())


# What reads a topic, and a good value of it. Readers of windows, frontiers and controls return None for a bad one.
READERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "window": (window.decode, window.encode(WINDOW)),
    "windows of fusion": (lambda raw: WindowDecoder().decode_or_none(raw), window.encode(WINDOW)),
    "prediction": (prediction.decode, canonical.dumps(PREDICTION)),
    "event": (event.decode, event.encode(EVENT)),
    "frontier": (
        last_emitted_window.decode_or_none,
        last_emitted_window.encode(LastEmittedWindow("s", NOW_US, "c")),
    ),
    "frontier key": (last_emitted_window.session_of, last_emitted_window.key("s", "n")),
    "settings": (alignment_config.decode_record, alignment_config.encode_record(AlignmentConfig())),
    "control": (lambda raw: mute_and_forget.decode_or_none("s", raw), mute_and_forget.encode(CONTROL)),
    "late": (window.decode_late, window.encode_late(CHUNK, (NOW_US,), 5)),
    "dead letter": (dead_letter.decode, LETTER.encode(b"s")[1]),
    "tick": (tick.decode, next(iter(tick.encode({"s": NOW_US}, "tick")))),
    "reset": (session_reset.decode, session_reset.encode(SessionReset("s", 7))),
    "generation start": (
        session_reset.decode_start,
        session_reset.encode_start(GenerationStart("s", 7, "audio", 5, NOW_US)),
    ),
    "detector state": (DetectorState.decode, STATE.encode()),
    "state of a prediction": (
        lambda raw: state_of([("braid-state", raw)], canonical.dumps(PREDICTION), "m"),
        STATE.encode(),
    ),
    "model of a prediction": (
        lambda raw: state_of([("braid-state", STATE.encode())], raw, "m"),
        canonical.dumps(PREDICTION),
    ),
    "page: window": (lambda raw: show(TOPICS.windows, raw), window.encode(WINDOW)),
    "page: prediction": (lambda raw: show(TOPICS.predictions, raw), canonical.dumps(PREDICTION)),
    "page: event": (lambda raw: show(TOPICS.events, raw), event.encode(EVENT)),
    "page: late": (lambda raw: show(TOPICS.late, raw), window.encode_late(CHUNK, (NOW_US,), 5)),
    "page: dead letter": (lambda raw: show(TOPICS.dead, raw), LETTER.encode(b"s")[1]),
}
HUGE = [10**30, -(10**30), (1 << 63) - 1, 1e308, float("nan"), float("inf"), "", "\ud83d", "9" * 400, True, False, None]
SCALARS = st.sampled_from(HUGE) | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def with_replaced(value: Any, choose: Callable[[int], int], replacement: Any) -> Any:
    """Return a JSON value in which one part, found by `choose`, is replaced."""
    if isinstance(value, dict | list) and value and choose(4):
        names = list(value) if isinstance(value, dict) else range(len(value))
        name = list(names)[choose(len(value))]
        changed = value.copy()
        changed[name] = with_replaced(value[name], choose, replacement)
        return changed
    return replacement


@st.composite
def values(draw: st.DrawFn, good: bytes) -> bytes:
    """Draw arbitrary bytes, arbitrary JSON, or a good record with one part missing, of another type, or huge."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind == 1:
        return json.dumps(draw(JSON)).encode()
    if kind == 2:
        at = draw(st.integers(0, len(good)))
        return good[:at] + draw(st.binary(max_size=4)) + good[at + draw(st.integers(0, 9)) :]
    try:
        record = json.loads(good)
    except ValueError:
        return good + draw(st.binary(max_size=4))
    return json.dumps(with_replaced(record, lambda n: draw(st.integers(0, n - 1)), draw(JSON))).encode()


@pytest.mark.parametrize("name", READERS)
def test_a_good_record_is_read(name: str) -> None:
    read, good = READERS[name]
    result = read(good)
    assert name.startswith("page") or result is not None
    assert not isinstance(result, Rejected)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_a_reader_raises_only_contract_errors(name: str, data: st.DataObject) -> None:
    read, good = READERS[name]
    with contextlib.suppress(ContractError):
        read(data.draw(values(good)))


@given(data=st.data())
def test_a_window_that_is_read_is_written_and_read_again(data: st.DataObject) -> None:
    decoded = WindowDecoder().decode_or_none(data.draw(values(window.encode(WINDOW))))
    if decoded is not None:
        assert window.decode(window.encode(decoded)) == decoded
        assert all(type(time_us) is int for time_us in (decoded.start_us, decoded.opened_us, decoded.closed_us))


GOOD_HEADERS = cloudevents.build_headers(
    session="s", source="/d", id="1", type="braid.media.text.v1", t_us=NOW_US, content_type="text/plain"
)
NAMES = st.sampled_from(
    [name for name, _ in GOOD_HEADERS] + ["ce_duration", "traceparent", "braid-mac", "x"]
) | st.text(st.characters(codec=None), max_size=8)
RAW = st.sampled_from(
    [
        "1.²".encode(),
        b"9" * 5_000,
        timestamps.format_us(NOW_US).encode(),
        b"9999-12-31T23:59:60Z",
        b"application/cloudevents+json",
        b"application/octet-stream",
        b"audio/wav",
        b"audio/ogg",
        b"image/webp",
        b"braid.tick.v1",
        b"braid.session.end.v1",
        None,
    ]
) | st.binary(max_size=40)
MODALITIES = st.sampled_from(["text", "video", "audio"])
BODIES = (
    st.none()
    | st.binary(max_size=80)
    | st.sampled_from([b"RIFF\0\0\0\0WAVE", b"OggS", b"fLaC", b"\xff\xd8\xff", b'{"text":']).flatmap(
        lambda head: st.binary(max_size=80).map(lambda tail: head + tail)
    )
    | JSON.map(lambda value: json.dumps({"text": value, "specversion": "1.0", "data": value}).encode())
)


@given(
    MODALITIES,
    st.none() | st.just(b"s") | st.binary(max_size=140),
    st.lists(st.tuples(NAMES, RAW), max_size=6),
    st.booleans(),
    BODIES,
    st.sampled_from([NOW_US // 1000, 0, (1 << 63) - 1, -1]),
)
@example("text", b"s", [("ce_duration", "1.²".encode())], True, b"hello", NOW_US // 1000)
@example("text", b"s", [("traceparent", b"x"), ("traceparent", b"y")], True, b"hello", NOW_US // 1000)
@example("text", b"s", [("content-type", b"application/cloudevents+json")], False, b'{"data":1e999}', NOW_US // 1000)
def test_every_reader_of_media_takes_any_bytes(
    modality: str,
    key: bytes | None,
    extra: list[tuple[str, Any]],
    with_good: bool,
    body: bytes | None,
    timestamp: int,
) -> None:
    known = {name for name, _ in extra}
    headers: Any = [*((n, raw) for n, raw in GOOD_HEADERS if with_good and n not in known), *extra]
    taken = KafkaRecord(TOPICS.media(modality), 0, 5, timestamp, key, headers, body)
    AdmissionCache(0, 1, AlignmentConfig()).admit(modality, taken)
    with contextlib.suppress(ContractError):
        for message in MessageDecoder(TOPICS).decode(taken):
            assert isinstance(message, PageMessage)
    mute_and_forget.is_hidden(lambda _: CONTROL, TOPICS, taken.topic, key, headers, body, timestamp * 1000)
    decode_media_record(taken, modality, 0, AlignmentConfig())
    letter = make_dead_letter(taken.position, "admission", Rejected(Reason.KEY, "x"), body, headers)
    dead_letter.decode(letter.encode(key)[1])
