"""Small records of every topic."""

from __future__ import annotations

from services.contract import canonical, cloudevents
from services.contract.kafka_record import KafkaRecord
from services.contract.window import Member, Window, WindowMembers, encode
from services.gateway import messages
from services.gateway.messages import PageMessage

SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US


def record(value: bytes | None, key: bytes | None = b"s", offset: int = 0) -> KafkaRecord:
    return KafkaRecord("topic", 2, offset, START_US // 1000, key, [], value)


def media(
    body: bytes = b"hello",
    modality: str = "text",
    content_type: str = "text/plain",
    *,
    session: str = "s",
    id: str = "1",
    t_us: int = START_US,
    offset: int = 0,
    kind: str | None = None,
) -> KafkaRecord:
    headers = cloudevents.build_headers(
        session=session,
        source=f"/devices/d/{modality}",
        id=id,
        type=kind or cloudevents.media_type(modality),
        t_us=t_us,
        content_type=content_type,
    )
    return KafkaRecord("topic", 2, offset, START_US // 1000, session.encode(), headers, body)


def chunk(
    session: str = "s", offset: int = 0, t_us: int = START_US, id: str = "1", body: bytes = b"hello"
) -> PageMessage:
    (message,) = messages.media_messages("text", media(body, session=session, offset=offset, t_us=t_us, id=id))
    return message


def window(start_us: int = START_US, members: tuple[Member, ...] = (), generation: int = 0) -> KafkaRecord:
    state = "present" if members else "absent"
    lanes = {"text": WindowMembers(state, "data", start_us, members)}
    aligned = Window("s", start_us, start_us + 2 * SECOND_US, None, True, "c", lanes, START_US, START_US, generation)
    return record(encode(aligned))


def prediction(
    id: str = "s/1/1@m", *, start_us: int = START_US, final: bool = True, label: str = "dog", **headers: bytes
) -> KafkaRecord:
    stream = {"state": "present", "evidence": "data", "age_ms": 1, "contribution": 0.5, "unusable": []}
    value = {
        "id": id,
        "session": "s",
        "window": {"start": start_us, "end": start_us + 2 * SECOND_US},
        "final": final,
        "label": label,
        "confidence": 0.9,
        "abstained": False,
        "top": [{"label": label, "p": 0.9}, {"label": "rain", "p": 0.05}],
        "modalities": {"text": stream},
        "counterfactuals": [{"without": ["text"], "label": "rain", "confidence": 0.1}],
        "inputs": [{"modality": "text"}],
    }
    record_headers = [(name.replace("_", "-"), raw) for name, raw in headers.items()]
    return KafkaRecord("topic", 2, 0, START_US // 1000, b"s", record_headers, canonical.dumps(value))


def event(lifecycle: str = "new", *, id: str = "s/1", final: bool = True, label: str = "dog") -> KafkaRecord:
    value = {
        "id": id,
        "session": "s",
        "lifecycle": lifecycle,
        "label": label,
        "kind": "sound",
        "start": START_US,
        "end": START_US + SECOND_US,
        "confidence": 0.8,
        "expires": START_US,
        "final": final,
        "prediction": "s/1/1@m",
    }
    return record(canonical.dumps(value))
