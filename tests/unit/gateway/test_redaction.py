"""Mute and forget at the gateway: what was in memory already, and what comes."""

from __future__ import annotations

import asyncio

from services.contract import canonical
from services.contract.control import Control
from services.gateway import messages
from services.gateway.archive_writer import EventArchiver
from services.gateway.event_stream import EventStream
from services.gateway.follower import ControlApplier
from services.gateway.redaction import Redactor
from services.gateway.sessions import HistoryLimits, SessionStore
from services.gateway.sources import SourceStore
from services.runtime.metrics import GatewayMetrics, make_registry
from tests.unit.gateway.records import SECOND_US, START_US, chunk, prediction
from tests.unit.gateway.test_archive import keeper
from tests.waiting import DEADLINE_S


def filled() -> tuple[SessionStore, SourceStore, EventStream, EventArchiver, ControlApplier]:
    rooms, sources, ring = SessionStore(HistoryLimits(10, 1 << 20, 1 << 40)), SourceStore(SECOND_US), EventStream("b")
    kept = keeper(GatewayMetrics(make_registry("gateway")))
    for one in (chunk(), chunk("other"), messages.prediction_message(prediction("s/1/1@m"))):
        rooms.add(one, 0)
        sources.add(one)
        ring.append(one)
    return rooms, sources, ring, kept, ControlApplier(rooms, sources, ring, kept)


async def heard(ring: EventStream) -> list[bytes]:
    ring.wake()
    found: list[bytes] = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in ring.read_after("b.0", lambda _: True):
            found.append(message.message.raw if message.message else b"")
            if len(found) == 2:
                break
    return found


def test_a_muted_sense_loses_its_words_where_they_are_kept_and_the_source_is_still_heard() -> None:
    rooms, sources, _, _, obey = filled()
    obey(Control("s", {"text": START_US}))
    (shown,) = rooms.views["s"].messages["chunk"].values()
    read = canonical.loads_object(shown.raw)
    assert read["muted"] is True
    assert not {"text", "media", "peaks"} & read.keys()
    assert rooms.bytes == sum(
        t.size_bytes for room in rooms.views.values() for k in room.messages.values() for t in k.values()
    )
    (other,) = rooms.views["other"].messages["chunk"].values()
    assert canonical.loads_object(other.raw)["text"] == "hello"
    assert len(sources.as_json(START_US)) == 2


async def test_what_was_forgotten_is_nowhere_and_saying_so_again_forgets_nothing_new() -> None:
    rooms, sources, ring, _, obey = filled()
    said = Control("s").forget(START_US + SECOND_US)
    obey(said)
    assert list(rooms.views) == ["other"]
    assert {s["session"] for s in sources.as_json(START_US)} == {"other"}
    rooms.add(chunk(offset=7, t_us=START_US + 2 * SECOND_US), 0)
    obey(said.mute(["video"], START_US))
    assert list(rooms.views) == ["other", "s"]
    ring.append(chunk(offset=7, t_us=START_US + 2 * SECOND_US))
    assert [canonical.loads_object(raw)["session"] for raw in await heard(ring)] == ["other", "s"]


def test_what_comes_is_hidden_by_its_time_or_by_when_it_came() -> None:
    said = {"s": Control("s").mute(["text"], START_US).unmute(["text"], START_US + 5 * SECOND_US).forget(START_US)}
    hidden = Redactor(said.get)
    assert hidden.redact(chunk(t_us=START_US - 1), START_US + SECOND_US) is None
    assert hidden.redact(chunk(t_us=START_US + 9 * SECOND_US), START_US - 1) is None
    during = hidden.redact(chunk(), START_US)
    assert during is not None
    assert b"hello" not in during.raw
    assert hidden.is_muted("s", "text", START_US, START_US)
    assert not hidden.is_muted("s", "text", START_US + 5 * SECOND_US, START_US + 5 * SECOND_US)
    member = {"modality": "text", "t_us": START_US, "duration_us": 0, "id": "1", "media": "api/…", "text": "hello"}
    assert hidden.redact_members("s", [member]) == [
        {"modality": "text", "t_us": START_US, "duration_us": 0, "id": "1", "muted": True}
    ]
    other = chunk("other")
    assert hidden.redact(other, START_US) is other
