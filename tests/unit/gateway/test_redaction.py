"""Mute and forget at the gateway: what is in memory already, and what arrives later."""

from __future__ import annotations

import asyncio

from services.contract import canonical
from services.contract.mute_and_forget import Control
from services.gateway import messages
from services.gateway.event_archiver import EventArchiver
from services.gateway.follower import ControlApplier
from services.gateway.message_buffer import EventStream
from services.gateway.redaction import Redactor
from services.gateway.sessions import HistoryLimits, SessionStore
from services.gateway.sources import SourceStore
from services.runtime.metric_definitions import GatewayMetrics, make_registry
from tests.unit.gateway.records import SECOND_US, START_US, chunk, prediction
from tests.unit.gateway.test_archive import archiver_of
from tests.waiting import DEADLINE_S


def filled() -> tuple[SessionStore, SourceStore, EventStream, EventArchiver, ControlApplier]:
    sessions, sources, stream = (
        SessionStore(HistoryLimits(10, 1 << 20, 1 << 40)),
        SourceStore(SECOND_US),
        EventStream("b"),
    )
    archiver = archiver_of(GatewayMetrics(make_registry("gateway")))
    for message in (chunk(), chunk("other"), messages.prediction_message(prediction("s/1/1@m"))):
        sessions.add(message, 0)
        sources.add(message)
        stream.append(message)
    return sessions, sources, stream, archiver, ControlApplier(sessions, sources, stream, archiver)


async def read_two(stream: EventStream) -> list[bytes]:
    stream.wake()
    messages: list[bytes] = []
    async with asyncio.timeout(DEADLINE_S):
        async for entry in stream.read_after("b.0", lambda _: True):
            messages.append(entry.message.raw if entry.message else b"")
            if len(messages) == 2:
                break
    return messages


def test_a_mute_removes_content_from_memory_and_keeps_the_source() -> None:
    sessions, sources, _, _, apply = filled()
    apply(Control("s", {"text": START_US}))
    (shown,) = sessions.views["s"].messages["chunk"].values()
    body = canonical.loads_object(shown.raw)
    assert body["muted"] is True
    assert not {"text", "media", "peaks"} & body.keys()
    assert sessions.bytes == sum(
        t.size_bytes for view in sessions.views.values() for k in view.messages.values() for t in k.values()
    )
    (other,) = sessions.views["other"].messages["chunk"].values()
    assert canonical.loads_object(other.raw)["text"] == "hello"
    assert len(sources.as_json(START_US)) == 2


async def test_a_forgotten_session_is_gone_and_the_same_control_record_again_changes_nothing() -> None:
    sessions, sources, stream, _, apply = filled()
    control = Control("s").forget(START_US + SECOND_US)
    apply(control)
    assert list(sessions.views) == ["other"]
    assert {s["session"] for s in sources.as_json(START_US)} == {"other"}
    sessions.add(chunk(offset=7, t_us=START_US + 2 * SECOND_US), 0)
    apply(control.mute(["video"], START_US))
    assert list(sessions.views) == ["other", "s"]
    stream.append(chunk(offset=7, t_us=START_US + 2 * SECOND_US))
    assert [canonical.loads_object(raw)["session"] for raw in await read_two(stream)] == ["other", "s"]


def test_new_messages_are_redacted_by_event_time_and_by_append_time() -> None:
    controls = {"s": Control("s").mute(["text"], START_US).unmute(["text"], START_US + 5 * SECOND_US).forget(START_US)}
    redactor = Redactor(controls.get)
    assert redactor.redact(chunk(t_us=START_US - 1), START_US + SECOND_US) is None
    assert redactor.redact(chunk(t_us=START_US + 9 * SECOND_US), START_US - 1) is None
    dustream = redactor.redact(chunk(), START_US)
    assert dustream is not None
    assert b"hello" not in dustream.raw
    assert redactor.is_muted("s", "text", START_US, START_US)
    assert not redactor.is_muted("s", "text", START_US + 5 * SECOND_US, START_US + 5 * SECOND_US)
    member = {"modality": "text", "t_us": START_US, "duration_us": 0, "id": "1", "media": "api/…", "text": "hello"}
    assert redactor.redact_members("s", [member]) == [
        {"modality": "text", "t_us": START_US, "duration_us": 0, "id": "1", "muted": True}
    ]
    other = chunk("other")
    assert redactor.redact(other, START_US) is other
