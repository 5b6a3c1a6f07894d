"""What Home Assistant is told of a home, without a broker: the pure part of the bridge to MQTT."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from services.contract import event
from services.contract.control import Control
from services.contract.event import Event
from services.integrations.mqtt.__main__ import check_settings, labels_of
from services.integrations.mqtt.state import BridgeLimits, BridgeState, FrameRef, MqttMessage
from services.integrations.mqtt.topics import MqttTopics, slug
from services.runtime.settings import ROOT, MqttSettings, SettingsError
from tests.unit.integrations import home_assistant

S = 1_000_000
CONFIG = Draft202012Validator(home_assistant.CONFIG)


def a_home(labels: tuple[str, ...] = ("dog", "rain"), sessions: int = 3, sources: int = 2) -> BridgeState:
    return BridgeState(MqttTopics(), labels, BridgeLimits(sessions, sources, 30 * S), "0.1.0")


def a_step(lifecycle: str = "new", label: str = "dog", final: bool = True, session: str = "kitchen") -> Event:
    return Event(f"{session}/1", session, lifecycle, label, "sound", 1 * S, 3 * S, 0.9, 9 * S, final, f"{session}/1@x")


def told(home: BridgeState, step: Event) -> list[MqttMessage]:
    return list(home.event(step, event.encode(step)))


def of(messages: list[MqttMessage], kind: str) -> list[Any]:
    return [json.loads(m.payload) if m.payload[:1] == b"{" else m.payload for m in messages if m.kind == kind]


def config_of(messages: list[MqttMessage]) -> Any:
    return of(messages, "config")[-1]


def test_a_session_is_a_device_as_home_assistant_documents_it() -> None:
    home = a_home()
    list(home.chunk("kitchen", "video", "/devices/porch/video", 1 * S, FrameRef(0, 7, 1 * S, "image/jpeg")))
    found = config_of(list(home.chunk("kitchen", "audio", "/devices/porch/audio", 1 * S)))
    CONFIG.validate(found)
    platforms = {key: entity["platform"] for key, entity in found["components"].items()}
    assert sorted(platforms.values()) == ["binary_sensor"] * 2 + ["event", "image"] + ["sensor"] * 2
    assert found["components"]["event"]["event_types"] == ["dog", "rain"]
    assert found["components"]["event"]["default_entity_id"] == "event.braid_kitchen_event"
    assert found["device"]["identifiers"] == ["braid_kitchen"]
    assert found["origin"]["name"] == "Braid"


@pytest.mark.parametrize(
    "broken",
    [
        lambda c: c["components"]["event"].update(object_id="x"),
        lambda c: c["components"]["event"].pop("unique_id"),
        lambda c: c["components"]["label"].pop("state_topic"),
        lambda c: c["device"].pop("identifiers"),
        lambda c: c.pop("origin"),
    ],
    ids=["old field name", "no unique_id", "no state_topic", "no identifiers", "no origin"],
)
def test_the_documented_schema_refuses_what_home_assistant_would(broken: Any) -> None:
    found = config_of(list(a_home().chunk("kitchen", "audio", "mic", 1 * S)))
    broken(found)
    assert not CONFIG.is_valid(found)


@given(st.text(min_size=1, max_size=128), st.text(min_size=1, max_size=256))
def test_any_session_and_source_has_names_that_mqtt_and_home_assistant_allow(session: str, source: str) -> None:
    messages = list(a_home().chunk(session, "audio", source, 1 * S)) + told(a_home(), a_step(session=session))
    CONFIG.validate(config_of(messages))
    assert all(not set(m.topic) & set("+#\0") for m in messages)


@given(st.lists(st.text(min_size=1, max_size=60), unique=True, min_size=2, max_size=20))
def test_two_sessions_never_share_a_name(sessions: list[str]) -> None:
    assert len({slug(session) for session in sessions}) == len(sessions)


def test_configuration_is_retained_and_events_and_pictures_are_not() -> None:
    home = a_home()
    messages = told(home, a_step()) + list(home.prediction("kitchen", "dog", 0.9, 3 * S, True))
    retained = {m.kind: m.retain for m in [*messages, home.image("kitchen", b"jpeg")]}
    assert retained == {"config": True, "step": False, "event": False, "prediction": True, "image": False}
    assert all(m.qos == 1 for m in messages)


def test_an_event_is_told_once_at_its_first_word_and_each_step_stays_readable() -> None:
    home = a_home()
    steps = [a_step(final=False), a_step(), a_step("update", "rain"), a_step("end", "rain")]
    messages = [m for step in steps for m in told(home, step)]
    events = of(messages, "event")
    assert [(e["event_type"], e["final"]) for e in events] == [("dog", False), ("rain", True)]
    for one in events:
        Draft202012Validator(home_assistant.EVENT).validate(one)
    assert [m.payload for m in messages if m.kind == "step"] == [event.encode(step) for step in steps]


def test_a_label_that_a_newer_model_says_is_declared_before_it_is_used() -> None:
    messages = told(a_home(labels=("dog",)), a_step(label="kettle"))
    assert [m.kind for m in messages] == ["config", "step", "event"]
    assert config_of(messages)["components"]["event"]["event_types"] == ["dog", "kettle"]


def test_only_final_predictions_move_the_sensors() -> None:
    home = a_home()
    assert not list(home.prediction("kitchen", "dog", 0.4, 3 * S, False))
    assert not list(home.prediction("kitchen", None, 0.0, 3 * S, True))
    assert of(list(home.prediction("kitchen", "dog", 0.9, 3 * S, True)), "prediction") == [
        {"label": "dog", "confidence": 0.9, "end_us": 3 * S}
    ]


def test_a_source_is_connected_until_it_has_been_silent_for_too_long() -> None:
    home = a_home()
    list(home.chunk("kitchen", "audio", "mic", 100 * S))
    assert of(list(home.source_states(101 * S)), "source") == [b"ON"]
    assert not list(home.source_states(129 * S)), "nothing has changed"
    assert of(list(home.source_states(130 * S)), "source") == [b"OFF"]
    list(home.chunk("kitchen", "audio", "mic", 140 * S))
    assert of(list(home.source_states(141 * S)), "source") == [b"ON"]


def test_everything_is_told_again_when_home_assistant_comes_up() -> None:
    home = a_home()
    list(home.chunk("kitchen", "audio", "mic", 1 * S))
    list(home.prediction("kitchen", "dog", 0.9, 3 * S, True))
    messages = list(home.announce(2 * S))
    assert [m.kind for m in messages] == ["available", "config", "prediction", "source"]
    assert all(m.retain for m in messages)
    assert "event" not in {m.kind for m in messages}, "an event that is over must not be fired again"


def test_the_session_heard_longest_ago_leaves_home_assistant_for_a_new_one() -> None:
    home = a_home(sessions=2)
    for name in ("one", "two"):
        list(home.chunk(name, "audio", "mic", 1 * S))
    messages = list(home.chunk("three", "audio", "mic", 1 * S))
    assert (MqttTopics().config("one"), b"") in [(m.topic, m.payload) for m in messages]
    assert list(home.sessions) == ["two", "three"]


def test_a_session_has_only_so_many_sources() -> None:
    home = a_home(sources=2)
    for n in range(5):
        list(home.chunk("kitchen", "audio", f"mic{n}", n * S))
    assert list(home.sessions["kitchen"].arrived_us) == [("audio", "mic3"), ("audio", "mic4")]


def test_the_picture_of_an_event_is_the_newest_from_within_it() -> None:
    home = a_home()
    for n in range(6):
        list(home.chunk("kitchen", "video", "cam", n * S, FrameRef(0, n, n * S, "image/jpeg")))
    assert home.newest_frame(a_step()) == FrameRef(0, 3, 3 * S, "image/jpeg")
    assert home.newest_frame(a_step(session="cellar")) is None


def test_pictures_and_words_leave_this_machine_encrypted_or_by_choice() -> None:
    with pytest.raises(SettingsError, match="BRAID_MQTT__HOST"):
        check_settings(MqttSettings())
    with pytest.raises(SettingsError, match="BRAID_MQTT__TLS"):
        check_settings(MqttSettings(host="broker.lan"))
    for allowed in (
        MqttSettings(host="127.0.0.1"),
        MqttSettings(host="broker.lan", tls=True),
        MqttSettings(host="broker.lan", allow_unencrypted=True),
    ):
        check_settings(allowed)


def test_the_labels_are_those_of_the_checkpoint_that_serves() -> None:
    labels = labels_of(ROOT / "models" / "home")
    assert "dog" in labels
    assert "nothing" not in labels
    assert labels_of(ROOT / "docs") == []


def test_each_sense_has_a_switch_that_mutes_it_and_pictures_of_a_muted_one_are_not_shown() -> None:
    home = BridgeState(MqttTopics(), ("dog",), BridgeLimits(3, 2, 30 * S), "0.1.0", ("video", "audio"))
    picture = FrameRef(0, 7, 2 * S, "image/jpeg")
    made = list(home.chunk("kitchen", "video", "/devices/porch/video", 2 * S, picture))
    assert of(made, "mute") == [b"OFF", b"OFF"]
    CONFIG.validate(config_of(made))
    switch = config_of(made)["components"]["mute_video"]
    assert home.parse_command(switch["command_topic"], b"ON") == ("kitchen", "video", True)
    assert home.parse_command(switch["command_topic"], b"OFF") == ("kitchen", "video", False)
    assert home.parse_command(switch["command_topic"], b"now") is None
    assert home.parse_command("braid/sessions/attic/mute/video/set", b"ON") is None
    assert home.newest_frame(a_step()) == picture
    states = {m.topic: m.payload for m in home.control(Control("kitchen", {"video": 5 * S}))}
    assert states == {switch["state_topic"]: b"ON", "braid/sessions/kitchen/mute/audio": b"OFF"}
    list(home.chunk("kitchen", "video", "/devices/porch/video", 6 * S, FrameRef(0, 8, 2 * S, "image/jpeg")))
    assert home.newest_frame(a_step()) is None


def test_a_forgotten_session_leaves_home_assistant_with_everything_that_was_retained() -> None:
    home = BridgeState(MqttTopics(), ("dog",), BridgeLimits(3, 2, 30 * S), "0.1.0", ("video",))
    retained = {m.topic for m in home.chunk("kitchen", "video", "/devices/porch/video", 2 * S) if m.retain}
    retained |= {m.topic for m in home.prediction("kitchen", "dog", 0.9, 2 * S, True) if m.retain}
    retained |= {m.topic for m in home.source_states(3 * S) if m.retain}
    gone = list(home.control(Control("kitchen").forget(9 * S)))
    assert {m.topic for m in gone} == retained
    assert all(m.retain and m.payload == b"" for m in gone)
    assert home.is_forgotten("kitchen", 8 * S)
    assert not home.is_forgotten("kitchen", 9 * S)
    again = list(home.control(Control("kitchen").forget(9 * S).mute(["video"], 10 * S)))
    assert again == [], "it is not there to be told of"
