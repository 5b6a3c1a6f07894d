"""With a secret, unsigned idle records are dead letters and close no window."""

from __future__ import annotations

import pytest

from services.aligner.idleness import IdleTimeouts
from services.aligner.partition import Partition
from services.aligner.recovery import InitialState
from services.contract import cloudevents, tick
from services.contract.alignment_config import AlignmentConfig, StreamConfig
from services.contract.signature import Signer
from services.contract.topics import Topics
from tests.simulation.broker import FakeRecord

S = 1_000_000
TOPICS = Topics(modalities=("text",))
SEMANTICS = AlignmentConfig(streams={"text": StreamConfig(0, False)})
SIGNER = Signer((b"0123456789abcdef",))
TOPIC = TOPICS.media("text")


def partition(signer: Signer) -> Partition:
    start = InitialState({"text": 0}, {}, {}, {})
    return Partition(0, 1, SEMANTICS, IdleTimeouts({"text": S}, S, None, 1_000), TOPICS, 0, start, signer)


def records(headers: list[tuple[str, bytes]] | None) -> list[tuple[str, FakeRecord]]:
    """A text, and a tick that closes its windows."""
    given = cloudevents.build_headers(
        session="s", source="/d", id="1", type=cloudevents.media_type("text"), t_us=10 * S, content_type="text/plain"
    )
    (value,) = tick.encode({"s": 12 * S}, "tick")
    return [
        ("text", FakeRecord(0, 10_000, b"s", b"hello", given)),
        ("text", FakeRecord(1, 12_000, None, value, tick.headers(value) if headers is None else headers)),
    ]


def signed(signer: Signer) -> list[tuple[str, bytes]]:
    (value,) = tick.encode({"s": 12 * S}, "tick")
    return signer.sign(TOPIC, 0, None, value, tick.headers(value))


@pytest.mark.parametrize("headers", [None, signed(Signer((b"another secret 16",)))])
def test_unsigned_idle_record_is_a_dead_letter_and_closes_nothing(headers: list[tuple[str, bytes]] | None) -> None:
    effects = partition(SIGNER).process(records(headers), 0)
    assert [(key, dead.rejected.reason.value) for key, dead in effects.dead] == [(None, "forged")]
    assert not effects.windows


def test_signed_idle_record_closes_windows_and_without_a_secret_any_does() -> None:
    signed_windows, unsigned_windows = (
        partition(SIGNER).process(records(signed(SIGNER)), 0).windows,
        partition(Signer()).process(records(None), 0).windows,
    )
    assert len(signed_windows) == 4
    assert [w.id for w in signed_windows] == [w.id for w in unsigned_windows]
