"""The messages of the bridge to MQTT, and their form in Home Assistant."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from services.contract import event
from services.contract.event import Event
from services.contract.mute_and_forget import Control
from services.integrations.mqtt.__main__ import check_settings, labels_of
from services.integrations.mqtt.client import MqttClient
from services.integrations.mqtt.state import BridgeLimits, BridgeState, FrameRef, MqttMessage
from services.integrations.mqtt.topics import MqttTopics, slug
from services.runtime.health import Progress
from services.runtime.metric_definitions import MqttMetrics, make_registry
from services.runtime.settings import ROOT, MqttSettings, SettingsError
from tests.unit.integrations import home_assistant
from tests.waiting import DEADLINE_S

S = 1_000_000
CONFIG = Draft202012Validator(home_assistant.CONFIG)


def make_state(labels: tuple[str, ...] = ("dog", "rain"), sessions: int = 3, sources: int = 2) -> BridgeState:
    return BridgeState(MqttTopics(), labels, BridgeLimits(sessions, sources, 30 * S), "0.1.0")


def make_step(lifecycle: str = "new", label: str = "dog", final: bool = True, session: str = "kitchen") -> Event:
    return Event(f"{session}/1", session, lifecycle, label, "sound", 1 * S, 3 * S, 0.9, 9 * S, final, f"{session}/1@x")


def publish(state: BridgeState, step: Event) -> list[MqttMessage]:
    return list(state.event(step, event.encode(step)))


def payloads(messages: list[MqttMessage], kind: str) -> list[Any]:
    return [json.loads(m.payload) if m.payload[:1] == b"{" else m.payload for m in messages if m.kind == kind]


def config_of(messages: list[MqttMessage]) -> Any:
    return payloads(messages, "config")[-1]


def test_a_session_becomes_a_device_in_the_documented_form() -> None:
    state = make_state()
    list(state.chunk("kitchen", "video", "/devices/porch/video", 1 * S, FrameRef(0, 7, 1 * S, "image/jpeg")))
    config = config_of(list(state.chunk("kitchen", "audio", "/devices/porch/audio", 1 * S)))
    CONFIG.validate(config)
    platforms = {key: entity["platform"] for key, entity in config["components"].items()}
    assert sorted(platforms.values()) == ["binary_sensor"] * 2 + ["event", "image"] + ["sensor"] * 2
    assert config["components"]["event"]["event_types"] == ["dog", "rain"]
    assert config["components"]["event"]["default_entity_id"] == "event.braid_kitchen_event"
    assert config["device"]["identifiers"] == ["braid_kitchen"]
    assert config["origin"]["name"] == "Braid"


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
def test_the_documented_schema_rejects_broken_configurations(broken: Any) -> None:
    config = config_of(list(make_state().chunk("kitchen", "audio", "mic", 1 * S)))
    broken(config)
    assert not CONFIG.is_valid(config)


@given(st.text(min_size=1, max_size=128), st.text(min_size=1, max_size=256))
def test_every_session_and_source_has_valid_topics_and_ids(session: str, source: str) -> None:
    messages = list(make_state().chunk(session, "audio", source, 1 * S)) + publish(
        make_state(), make_step(session=session)
    )
    CONFIG.validate(config_of(messages))
    assert all(not set(m.topic) & set("+#\0") for m in messages)


@given(st.lists(st.text(min_size=1, max_size=60), unique=True, min_size=2, max_size=20))
def test_two_sessions_never_share_a_slug(sessions: list[str]) -> None:
    assert len({slug(session) for session in sessions}) == len(sessions)


def test_configuration_is_retained_and_events_and_images_are_not() -> None:
    state = make_state()
    messages = publish(state, make_step()) + list(state.prediction("kitchen", "dog", 0.9, 3 * S, True))
    retained = {m.kind: m.retain for m in [*messages, state.image("kitchen", b"jpeg")]}
    assert retained == {"config": True, "step": False, "event": False, "prediction": True, "image": False}
    assert all(m.qos == 1 for m in messages)


def test_an_event_fires_once_a_label_and_every_step_is_published() -> None:
    state = make_state()
    steps = [make_step(final=False), make_step(), make_step("update", "rain"), make_step("end", "rain")]
    messages = [m for step in steps for m in publish(state, step)]
    events = payloads(messages, "event")
    assert [(e["event_type"], e["final"]) for e in events] == [("dog", False), ("rain", True)]
    for event_payload in events:
        Draft202012Validator(home_assistant.EVENT).validate(event_payload)
    assert [m.payload for m in messages if m.kind == "step"] == [event.encode(step) for step in steps]


def test_a_new_label_is_declared_before_it_is_used() -> None:
    messages = publish(make_state(labels=("dog",)), make_step(label="kettle"))
    assert [m.kind for m in messages] == ["config", "step", "event"]
    assert config_of(messages)["components"]["event"]["event_types"] == ["dog", "kettle"]


def test_only_final_predictions_change_the_sensors() -> None:
    state = make_state()
    assert not list(state.prediction("kitchen", "dog", 0.4, 3 * S, False))
    assert not list(state.prediction("kitchen", None, 0.0, 3 * S, True))
    assert payloads(list(state.prediction("kitchen", "dog", 0.9, 3 * S, True)), "prediction") == [
        {"label": "dog", "confidence": 0.9, "end_us": 3 * S}
    ]


def test_a_source_is_connected_until_it_is_silent() -> None:
    state = make_state()
    list(state.chunk("kitchen", "audio", "mic", 100 * S))
    assert payloads(list(state.source_states(101 * S)), "source") == [b"ON"]
    assert not list(state.source_states(129 * S)), "nothing has changed"
    assert payloads(list(state.source_states(130 * S)), "source") == [b"OFF"]
    list(state.chunk("kitchen", "audio", "mic", 140 * S))
    assert payloads(list(state.source_states(141 * S)), "source") == [b"ON"]


def test_a_clock_that_is_ahead_is_an_attribute_with_what_to_do_until_it_is_right() -> None:
    state = make_state()
    list(state.chunk("kitchen", "audio", "mic", 100 * S, captured_us=155 * S))
    (message,) = (m for m in state.source_states(101 * S) if m.kind == "clock")
    assert message.topic == f"{MqttTopics().source('kitchen', 'audio', 'mic')}/clock"
    body = json.loads(message.payload)
    assert body["clock"] == "clock 55 s ahead"
    assert "devices: {mic: {clock: arrival}}" in body["what_to_do"]
    assert not list(state.source_states(102 * S))
    for at in (170, 200):  # in the two periods that follow
        list(state.chunk("kitchen", "audio", "mic", at * S, captured_us=at * S))
    assert payloads(list(state.source_states(201 * S)), "clock") == [{"clock": "ok", "what_to_do": None}]


def test_all_retained_state_is_announced_again_when_home_assistant_starts() -> None:
    state = make_state()
    list(state.chunk("kitchen", "audio", "mic", 1 * S))
    list(state.prediction("kitchen", "dog", 0.9, 3 * S, True))
    messages = list(state.announce(2 * S))
    assert [m.kind for m in messages] == ["available", "config", "prediction", "source", "clock"]
    assert all(m.retain for m in messages)
    assert "event" not in {m.kind for m in messages}, "an event that is over must not fire again"


def test_beyond_the_limit_the_least_recently_active_session_is_removed() -> None:
    state = make_state(sessions=2)
    for name in ("one", "two"):
        list(state.chunk(name, "audio", "mic", 1 * S))
    messages = list(state.chunk("three", "audio", "mic", 1 * S))
    assert (MqttTopics().config("one"), b"") in [(m.topic, m.payload) for m in messages]
    assert list(state.sessions) == ["two", "three"]


def test_the_sources_of_a_session_are_limited() -> None:
    state = make_state(sources=2)
    for n in range(5):
        list(state.chunk("kitchen", "audio", f"mic{n}", n * S))
    assert list(state.sessions["kitchen"].arrived_us) == [("audio", "mic3"), ("audio", "mic4")]


def test_the_frame_of_an_event_is_the_newest_within_it() -> None:
    state = make_state()
    for n in range(6):
        list(state.chunk("kitchen", "video", "cam", n * S, FrameRef(0, n, n * S, "image/jpeg")))
    assert state.newest_frame(make_step()) == FrameRef(0, 3, 3 * S, "image/jpeg")
    assert state.newest_frame(make_step(session="cellar")) is None


def test_media_leave_this_machine_encrypted_unless_the_settings_allow_otherwise() -> None:
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


def test_the_labels_come_from_the_serving_checkpoint() -> None:
    labels = labels_of(ROOT / "models" / "home")
    assert "dog" in labels
    assert "nothing" not in labels
    assert labels_of(ROOT / "docs") == []


def test_each_modality_has_a_mute_switch_and_muted_frames_are_not_used() -> None:
    state = BridgeState(MqttTopics(), ("dog",), BridgeLimits(3, 2, 30 * S), "0.1.0", ("video", "audio"))
    frame = FrameRef(0, 7, 2 * S, "image/jpeg")
    messages = list(state.chunk("kitchen", "video", "/devices/porch/video", 2 * S, frame))
    assert payloads(messages, "mute") == [b"OFF", b"OFF"]
    CONFIG.validate(config_of(messages))
    switch = config_of(messages)["components"]["mute_video"]
    assert state.parse_command(switch["command_topic"], b"ON") == ("kitchen", "video", True)
    assert state.parse_command(switch["command_topic"], b"OFF") == ("kitchen", "video", False)
    assert state.parse_command(switch["command_topic"], b"now") is None
    assert state.parse_command("braid/sessions/attic/mute/video/set", b"ON") is None
    assert state.newest_frame(make_step()) == frame
    states = {m.topic: m.payload for m in state.control(Control("kitchen", {"video": 5 * S}))}
    assert states == {switch["state_topic"]: b"ON", "braid/sessions/kitchen/mute/audio": b"OFF"}
    list(state.chunk("kitchen", "video", "/devices/porch/video", 6 * S, FrameRef(0, 8, 2 * S, "image/jpeg")))
    assert state.newest_frame(make_step()) is None


def test_a_forgotten_session_is_removed_with_everything_that_was_retained() -> None:
    state = BridgeState(MqttTopics(), ("dog",), BridgeLimits(3, 2, 30 * S), "0.1.0", ("video",))
    retained = {m.topic for m in state.chunk("kitchen", "video", "/devices/porch/video", 2 * S) if m.retain}
    retained |= {m.topic for m in state.prediction("kitchen", "dog", 0.9, 2 * S, True) if m.retain}
    retained |= {m.topic for m in state.source_states(3 * S) if m.retain}
    removed = list(state.control(Control("kitchen").forget(9 * S)))
    assert {m.topic for m in removed} == retained
    assert all(m.retain and m.payload == b"" for m in removed)
    assert state.is_forgotten("kitchen", 8 * S)
    assert not state.is_forgotten("kitchen", 9 * S)
    again = list(state.control(Control("kitchen").forget(9 * S).mute(["video"], 10 * S)))
    assert again == [], "the session is not there any more"


async def test_a_broker_that_does_not_speak_mqtt_5_is_asked_in_3_1_1() -> None:
    levels = list[int]()
    asked_again = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The fixed header of two bytes, the length and name of the protocol, then its level (MQTT 3.1.1, 3.1.2.2).
        levels.append((await reader.readexactly(9))[8])
        if levels[-1] == 5:
            writer.write(b"\x20\x02\x00\x01")  # CONNACK: unacceptable protocol version
        else:
            asked_again.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    settings = MqttSettings(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    progress, metrics = Progress(60), MqttMetrics(make_registry("mqtt"))

    async def command(topic: str, payload: bytes) -> None:
        raise AssertionError(topic)

    running = asyncio.create_task(MqttClient(settings, MqttTopics(), list, command, metrics, progress).run())
    await asyncio.wait_for(asked_again.wait(), DEADLINE_S)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    server.close()
    assert levels == [5, 4]
