"""Fetch sessions: what a request names after what the broker answered."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaStorageError
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v4, FetchRequest_v11

from services.kafka.fetch_sessions import EPOCH_MAX, LOST, FetchSession


def fetch(**offsets: int) -> FetchRequest:
    """A request for partition 0 of each topic."""
    return FetchRequest(500, 1, 1000, 1, [(topic, [(0, offset, 100)]) for topic, offset in offsets.items()])


def send(session: FetchSession, *, error_code: int = 0, id: int = 7, **offsets: int) -> tuple[object, bool]:
    """Return what a request says of session and partitions, and whether the answer is accepted."""
    request = session.wrap(fetch(**offsets)).build(FetchRequest_v11)
    answer = SimpleNamespace(API_VERSION=11, error_code=error_code, session_id=id)
    topics = {topic: partitions[0][2] for topic, partitions in request.topics}
    forgotten = [topic for topic, _ in request.forgotten_topics_data]
    return (request.session_id, request.session_epoch, topics, forgotten), session.accept(answer)


def test_request_names_only_what_has_changed_since_the_last_answer() -> None:
    session = FetchSession()
    assert send(session, a=1, b=5) == ((0, 0, {"a": 1, "b": 5}, []), True)
    assert send(session, a=1, b=6) == ((7, 1, {"b": 6}, []), True)
    assert send(session, a=1) == ((7, 2, {}, ["b"]), True)
    assert send(session, a=1, b=6) == ((7, 3, {"b": 6}, []), True)


@pytest.mark.parametrize("error_code", LOST)
def test_request_names_all_after_the_broker_has_lost_the_session(error_code: int) -> None:
    session = FetchSession()
    send(session, a=1)
    assert send(session, a=2, error_code=error_code) == ((7, 1, {"a": 2}, []), False)
    # The id stays, so that a broker that has the session still drops it.
    assert send(session, a=2, id=8) == ((7, 0, {"a": 2}, []), True)
    assert send(session, a=2, id=8) == ((8, 1, {}, []), True)


def test_request_names_all_after_a_fetch_that_was_given_up() -> None:
    session = FetchSession()
    send(session, a=1)
    session.wrap(fetch(a=2))
    session.restart()
    assert send(session, a=1) == ((7, 0, {"a": 1}, []), True)


def test_broker_without_room_for_a_session_gets_whole_requests() -> None:
    session = FetchSession()
    assert send(session, a=1, id=0) == ((0, 0, {"a": 1}, []), True)
    assert send(session, a=1) == ((0, 0, {"a": 1}, []), True)


def test_old_broker_gets_whole_requests() -> None:
    session = FetchSession()
    for _ in range(2):
        request = session.wrap(fetch(a=1)).build(FetchRequest_v4)
        assert request.topics == [("a", [(0, 1, 100)])]
        assert session.accept(SimpleNamespace(API_VERSION=4))


def test_epoch_after_the_last_one_is_the_first_one_of_a_running_session() -> None:
    session = FetchSession()
    send(session, a=1)
    session.epoch = EPOCH_MAX
    send(session, a=1)
    assert session.epoch == 1


def test_another_error_is_raised() -> None:
    with pytest.raises(KafkaStorageError):
        send(FetchSession(), a=1, error_code=KafkaStorageError.errno)
