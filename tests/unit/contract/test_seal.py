"""Signatures of idle records: secret, position, and the rotation of secrets."""

from __future__ import annotations

import pytest

from services.contract.tick import MAC_HEADER, TickSigner

OLD, NEW = b"0123456789abcdef", b"fedcba9876543210"
SIGNER = TickSigner((NEW, OLD))
TOPIC, VALUE = "braid.media.audio.v1", b'{"bounds":{"s":5},"evidence":"tick"}'
SIGNED = SIGNER.sign(TOPIC, 3, VALUE)


def test_a_signature_is_valid_only_for_its_topic_partition_and_value() -> None:
    assert SIGNER.verify(TOPIC, 3, SIGNED, VALUE)
    assert not SIGNER.verify("braid.media.video.v1", 3, SIGNED, VALUE)
    assert not SIGNER.verify(TOPIC, 4, SIGNED, VALUE)
    assert not SIGNER.verify(TOPIC, 3, SIGNED, VALUE.replace(b"5", b"6"))


@pytest.mark.parametrize(
    "headers", [[], [(MAC_HEADER, b"")], [(MAC_HEADER, None)], [(MAC_HEADER, b"0" * 64)], [*SIGNED, *SIGNED]]
)
def test_a_record_without_exactly_one_valid_signature_is_rejected(headers: list[tuple[str, bytes]]) -> None:
    assert not SIGNER.verify(TOPIC, 3, headers, VALUE)


def test_the_first_secret_signs_and_former_ones_verify_until_they_are_removed() -> None:
    assert SIGNED == TickSigner((NEW,)).sign(TOPIC, 3, VALUE) != TickSigner((OLD,)).sign(TOPIC, 3, VALUE)
    assert SIGNER.verify(TOPIC, 3, TickSigner((OLD,)).sign(TOPIC, 3, VALUE), VALUE)
    assert not TickSigner((NEW,)).verify(TOPIC, 3, TickSigner((OLD,)).sign(TOPIC, 3, VALUE), VALUE)


def test_without_a_secret_every_idle_record_is_accepted_and_none_is_signed() -> None:
    assert TickSigner().sign(TOPIC, 3, VALUE) == []
    assert TickSigner().verify(TOPIC, 3, [], VALUE)
    assert TickSigner().verify(TOPIC, 3, SIGNED, VALUE), "signing can be switched off again"
