"""What no command shows of a session: what was forgotten, by event time and by arrival, and media of muted senses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from services.contract import canonical, cloudevents
from services.contract.mute_and_forget import Control, is_hidden
from services.contract.topics import Topics

S = 1_000_000
AT = 1_700_000_000 * S
TOPICS = Topics()
FORGOTTEN = Control("s").forget(AT)
RECORDS: Mapping[str, Mapping[str, object]] = {
    TOPICS.predictions: {"window": {"start": AT - S, "end": AT + S}},
    TOPICS.windows: {"start_us": AT - S},
    TOPICS.events: {"start": AT - S, "end": AT + S},
    TOPICS.late: {"t_us": AT - S},
}


def hidden(
    control: Control | None, topic: str, value: Mapping[str, object], t_us: int | None = None, appended_us: int = AT
) -> bool:
    headers = []
    if t_us is not None:
        kind = cloudevents.media_type("audio")
        headers = cloudevents.build_headers(
            session="s", source="/devices/d/mic", id="1", type=kind, t_us=t_us, content_type="audio/wav"
        )
    return is_hidden(lambda _: control, TOPICS, topic, b"s", headers, canonical.dumps(value), appended_us)


@pytest.mark.parametrize("topic", RECORDS)
def test_a_record_about_a_forgotten_time_is_hidden_though_it_came_later(topic: str) -> None:
    later = {name: {"start": AT, "end": AT} if name == "window" else AT for name in RECORDS[topic]}
    assert hidden(FORGOTTEN, topic, RECORDS[topic], appended_us=AT + 5 * S)
    assert not hidden(FORGOTTEN, topic, later, appended_us=AT + 5 * S)
    assert not hidden(None, topic, RECORDS[topic]), "nothing was said of the session"


def test_what_came_before_is_hidden_though_its_clock_ran_ahead() -> None:
    assert hidden(FORGOTTEN, TOPICS.media("audio"), {}, t_us=AT + S, appended_us=AT - S)
    assert not hidden(FORGOTTEN, TOPICS.media("audio"), {}, t_us=AT + S, appended_us=AT)


def test_media_of_a_muted_sense_are_hidden_and_its_windows_are_not() -> None:
    said = Control("s").mute(["audio"], AT)
    assert hidden(said, TOPICS.media("audio"), {}, t_us=AT + S)
    assert not hidden(said, TOPICS.media("video"), {}, t_us=AT + S)
    assert not hidden(said, TOPICS.windows, {"start_us": AT + S})
    before = said.unmute(["audio"], AT + 2 * S)
    assert hidden(before, TOPICS.media("audio"), {}, t_us=AT + S, appended_us=AT + 9 * S)
    assert not hidden(before, TOPICS.media("audio"), {}, t_us=AT + 3 * S, appended_us=AT + 3 * S)


def test_the_word_that_forgets_is_shown_itself() -> None:
    assert not hidden(FORGOTTEN, TOPICS.control, {"forgotten_before_us": AT}, appended_us=AT - S)
