"""Isolation of records: an error that is a record's fault skips it; an error of the broker ends the work."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from services.contract.dead_letter import CUT_HEADER, DeadLetter, Reason, Rejected, UnreadableRecord, make_dead_letter
from services.contract.kafka_record import ConsumedRecord, KafkaRecord, RecordPosition
from services.contract.user_errors import BraidError
from services.kafka import dead_letters
from services.kafka.skipped_records import SkippedRecords

READABLE = KafkaRecord("t", 0, 1, 0, b"k", (), b"secret")
UNREADABLE = UnreadableRecord("t", 0, 2, 0, Rejected(Reason.UNREADABLE, "corrupt"))


def test_an_error_about_one_record_skips_it_and_is_counted_and_logged_without_its_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted: list[str] = []
    skipped = SkippedRecords("reader", counted.append)
    for _ in range(3):
        with skipped.guard(READABLE):
            raise ValueError(READABLE.value)
    assert counted == ["t"] * 3
    assert len(caplog.records) == 1, "one line for many records of a topic"
    fields = vars(caplog.records[0])
    assert (fields["topic"], fields["partition"], fields["offset"], fields["reason"]) == ("t", 0, 1, "error")
    assert "secret" not in str(fields)


def test_records_that_could_not_be_read_are_left_out() -> None:
    skipped = SkippedRecords("reader")
    records: list[ConsumedRecord] = [UNREADABLE, READABLE]
    assert list(skipped.readable(records)) == [READABLE]
    assert skipped.count == 1


@pytest.mark.parametrize("error", [KafkaConnectionError(), OSError(), BraidError("wrong settings"), MemoryError()])
def test_an_error_that_is_no_record_s_fault_is_raised(error: Exception) -> None:
    skipped = SkippedRecords("reader")
    with pytest.raises(type(error)), skipped.guard(READABLE):
        raise error
    assert not skipped.count


def test_cancellation_is_raised() -> None:
    with pytest.raises(asyncio.CancelledError), SkippedRecords("reader").guard(READABLE):
        raise asyncio.CancelledError


class RefusingProducer:
    """Refuses records with a key."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.sent: list[SimpleNamespace] = []

    async def send(self, topic: str, value: bytes, key: bytes | None = None, **fields: Any) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if key is None:
            self.sent.append(SimpleNamespace(topic=topic, value=value, **fields))
            answer.set_result(None)
        else:
            answer.set_exception(self.error)
        return answer


def letter(offset: int) -> DeadLetter:
    return make_dead_letter(RecordPosition("t", 0, offset), "admission", Rejected(Reason.SIZE, ""), b"x", [("h", b"v")])


async def test_a_dead_letter_that_the_broker_refuses_goes_out_by_position() -> None:
    producer: Any = RefusingProducer(MessageSizeTooLargeError())
    await dead_letters.publish(producer, "dead", 0, b"key", letter(1))
    (sent,) = producer.sent
    own = {name for name in dict(sent.headers) if name.startswith("ce_") or name == "content-type"}
    assert dict(sent.headers).keys() - own == {"braid-reason", CUT_HEADER}
    assert sent.partition == 0
    # A producer that was refused fails from then on, and its successor sees the same record.
    producer.error = AssertionError("it is not tried again")
    await dead_letters.publish(producer, "dead", 0, b"key", letter(1))
    assert len(producer.sent) == 2


async def test_a_broker_that_is_away_is_no_refusal() -> None:
    producer: Any = RefusingProducer(KafkaConnectionError())
    with pytest.raises(KafkaConnectionError):
        await dead_letters.publish(producer, "dead", 0, b"key", letter(2))
    assert not producer.sent
