"""Records that no command shows: forgotten ones, by event time and by append time, and media of muted modalities."""

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
def test_a_record_about_a_forgotten_time_is_hidden_even_if_it_is_appended_later(topic: str) -> None:
    later = {name: {"start": AT, "end": AT} if name == "window" else AT for name in RECORDS[topic]}
    assert hidden(FORGOTTEN, topic, RECORDS[topic], appended_us=AT + 5 * S)
    assert not hidden(FORGOTTEN, topic, later, appended_us=AT + 5 * S)
    assert not hidden(None, topic, RECORDS[topic]), "the session has no control state"


def test_media_appended_before_the_forget_are_hidden_even_if_their_clock_was_ahead() -> None:
    assert hidden(FORGOTTEN, TOPICS.media("audio"), {}, t_us=AT + S, appended_us=AT - S)
    assert not hidden(FORGOTTEN, TOPICS.media("audio"), {}, t_us=AT + S, appended_us=AT)


def test_media_of_a_muted_modality_are_hidden_and_its_windows_are_not() -> None:
    muted = Control("s").mute(["audio"], AT)
    assert hidden(muted, TOPICS.media("audio"), {}, t_us=AT + S)
    assert not hidden(muted, TOPICS.media("video"), {}, t_us=AT + S)
    assert not hidden(muted, TOPICS.windows, {"start_us": AT + S})
    unmuted = muted.unmute(["audio"], AT + 2 * S)
    assert hidden(unmuted, TOPICS.media("audio"), {}, t_us=AT + S, appended_us=AT + 9 * S)
    assert not hidden(unmuted, TOPICS.media("audio"), {}, t_us=AT + 3 * S, appended_us=AT + 3 * S)


def test_the_forget_record_itself_is_shown() -> None:
    assert not hidden(FORGOTTEN, TOPICS.control, {"forgotten_before_us": AT}, appended_us=AT - S)
