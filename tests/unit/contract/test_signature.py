"""Signatures of records: secret, position, every part of a record, rotation, and the time before there was a secret."""

from __future__ import annotations

from typing import Any

import pytest

from services.contract.kafka_record import Headers, KafkaRecord
from services.contract.signature import MAC_HEADER, Signer, is_signed, is_signed_topic
from services.contract.topics import Topics

OLD, NEW = b"0123456789abcdef", b"fedcba9876543210"
SIGNER = Signer((NEW, OLD))
TOPIC, KEY, VALUE = "braid.frontier.v1", b"kitchen\0nonce", b'{"start_us":5}'
HEADERS = [("content-type", b"application/json"), ("braid-state", b"{}")]


def record(signer: Signer, **changes: Any) -> KafkaRecord:
    """A signed record, changed afterwards."""
    headers = signer.sign(TOPIC, 3, KEY, VALUE, HEADERS)
    return KafkaRecord(TOPIC, 3, 7, 1_000, KEY, headers, VALUE)._replace(**changes)


SIGNED = record(SIGNER).headers
MAC = SIGNED[-1]


def test_a_signed_record_is_verified_at_its_place_only() -> None:
    assert SIGNER.verify(TOPIC, 3, record(SIGNER))
    assert SIGNER.verify(TOPIC, 3, record(SIGNER, offset=900, timestamp=900_000))
    assert not SIGNER.verify("braid.windows.v1", 3, record(SIGNER))
    assert not SIGNER.verify(TOPIC, 4, record(SIGNER))


@pytest.mark.parametrize(
    "changes",
    [
        {"key": b"hall\0nonce"},
        {"key": None},
        {"value": VALUE.replace(b"5", b"6")},
        {"value": None},
        {"value": b""},
        {"headers": SIGNED[1:]},
        {"headers": [SIGNED[1], SIGNED[0], MAC]},
        {"headers": [*SIGNED, ("ce_type", b"x")]},
        {"headers": [(SIGNED[0][0], b"text/plain"), *SIGNED[1:]]},
        # The same bytes, cut elsewhere.
        {"key": KEY + VALUE[:1], "value": VALUE[1:]},
        {"headers": [("content-typ", b"eapplication/json"), *SIGNED[1:]]},
    ],
)
def test_no_part_of_a_signed_record_can_be_changed(changes: dict[str, Any]) -> None:
    assert not SIGNER.verify(TOPIC, 3, record(SIGNER, **changes))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        HEADERS,
        [*HEADERS, (MAC_HEADER, b"")],
        [*HEADERS, (MAC_HEADER, None)],
        [*HEADERS, (MAC_HEADER, b"0" * 64)],
        [*HEADERS, (MAC_HEADER, b"\xff")],
        [*HEADERS, MAC, MAC],
        [("\udcff", b""), *SIGNED],
    ],
)
def test_a_record_without_exactly_one_valid_signature_is_forged(headers: Headers) -> None:
    assert not SIGNER.verify(TOPIC, 3, record(SIGNER, headers=headers))


def test_the_first_secret_signs_and_former_ones_verify_until_they_are_removed() -> None:
    assert record(SIGNER) == record(Signer((NEW,))) != record(Signer((OLD,)))
    assert SIGNER.verify(TOPIC, 3, record(Signer((OLD,))))
    assert not Signer((NEW,)).verify(TOPIC, 3, record(Signer((OLD,))))


def test_without_a_secret_every_record_is_accepted_and_none_is_signed() -> None:
    assert not is_signed(record(Signer()).headers)
    assert Signer().verify(TOPIC, 3, record(Signer()))
    assert Signer().verify(TOPIC, 3, record(SIGNER)), "signing can be switched off again"


def test_records_from_before_the_secret_are_accepted_and_later_ones_are_not() -> None:
    signer = Signer((NEW,), accept_unsigned_before_ms=5_000)
    assert signer.verify(TOPIC, 3, record(Signer(), timestamp=4_999))
    assert not signer.verify(TOPIC, 3, record(Signer(), timestamp=5_000))
    assert signer.verify(TOPIC, 3, record(signer, timestamp=5_000))


def test_signing_again_replaces_a_signature() -> None:
    assert SIGNER.sign(TOPIC, 3, KEY, VALUE, SIGNED) == SIGNED


def test_all_topics_but_media_are_signed_whatever_the_names_of_prefix_and_modalities() -> None:
    topics = Topics(prefix="my.home", modalities=("text", "windows"))
    assert {t.name for t in topics.definitions() if not is_signed_topic(t.name)} == set(topics.media_all)
