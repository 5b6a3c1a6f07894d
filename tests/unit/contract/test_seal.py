"""The seal of a tick: who has the secret, for which place, and how one secret follows another."""

from __future__ import annotations

import pytest

from services.contract.tick import MAC_HEADER, TickSigner

OLD, NEW = b"0123456789abcdef", b"fedcba9876543210"
SEAL = TickSigner((NEW, OLD))
TOPIC, VALUE = "braid.media.audio.v1", b'{"bounds":{"s":5},"evidence":"tick"}'
SIGNED = SEAL.sign(TOPIC, 3, VALUE)


def test_what_is_signed_holds_at_its_place_alone() -> None:
    assert SEAL.verify(TOPIC, 3, SIGNED, VALUE)
    assert not SEAL.verify("braid.media.video.v1", 3, SIGNED, VALUE)
    assert not SEAL.verify(TOPIC, 4, SIGNED, VALUE)
    assert not SEAL.verify(TOPIC, 3, SIGNED, VALUE.replace(b"5", b"6"))


@pytest.mark.parametrize(
    "headers", [[], [(MAC_HEADER, b"")], [(MAC_HEADER, None)], [(MAC_HEADER, b"0" * 64)], [*SIGNED, *SIGNED]]
)
def test_without_one_right_signature_it_does_not_hold(headers: list[tuple[str, bytes]]) -> None:
    assert not SEAL.verify(TOPIC, 3, headers, VALUE)


def test_the_first_secret_signs_and_a_former_one_is_taken_until_it_leaves() -> None:
    assert SIGNED == TickSigner((NEW,)).sign(TOPIC, 3, VALUE) != TickSigner((OLD,)).sign(TOPIC, 3, VALUE)
    assert SEAL.verify(TOPIC, 3, TickSigner((OLD,)).sign(TOPIC, 3, VALUE), VALUE)
    assert not TickSigner((NEW,)).verify(TOPIC, 3, TickSigner((OLD,)).sign(TOPIC, 3, VALUE), VALUE)


def test_where_there_is_no_secret_every_tick_is_taken_and_none_is_signed() -> None:
    assert TickSigner().sign(TOPIC, 3, VALUE) == []
    assert TickSigner().verify(TOPIC, 3, [], VALUE)
    assert TickSigner().verify(TOPIC, 3, SIGNED, VALUE), "a secret may be taken away again"
