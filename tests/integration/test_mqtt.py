"""The MQTT bridge on a real Kafka and a real mosquitto, as Home Assistant sees it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from services.contract import event
from services.contract.event import Event
from services.kafka import clients
from services.kafka.control_topic import read_control
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings
from tests.integration.mosquitto import Mosquitto, subscribe
from tests.integration.session import play_session
from tests.unit.integrations import home_assistant
from tests.waiting import wait_until


@pytest.fixture(scope="module")
async def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mosquitto]:
    server = await Mosquitto(tmp_path_factory.mktemp("mosquitto")).start()
    yield server
    await server.child.stop()


@pytest.fixture(scope="module")
async def bridge(
    stack: LocalStack, services: dict[str, ServiceProcess], mosquitto: Mosquitto
) -> AsyncIterator[ServiceProcess]:
    environment = {
        "BRAID_MQTT__HOST": "127.0.0.1",
        "BRAID_MQTT__PORT": str(mosquitto.port),
        "BRAID_MQTT__SILENT_S": "5",
    }
    process = ServiceProcess("mqtt", stack.folder, stack.environment() | environment)
    process.start()
    await process.wait_until_ready()
    yield process
    assert await process.child.stop() == 0, "the bridge did not end cleanly"


async def publish_event(settings: Settings, step: Event) -> None:
    async with clients.producer(settings.kafka) as producer:
        topic = settings.topic_names().events
        await producer.send_and_wait(topic, event.encode(step), key=step.session.encode())


async def test_a_session_becomes_a_home_assistant_device(
    settings: Settings, bridge: ServiceProcess, mosquitto: Mosquitto, hand: bytes
) -> None:
    async with subscribe(mosquitto.port) as (listener, _):
        assert (await listener.wait("braid/bridge/available"))[-1] == b"online"
        await play_session(settings, "hall", hand)
        (config, *_) = await listener.wait("homeassistant/device/braid_hall/config", 3)
        prediction = json.loads((await listener.wait("braid/sessions/hall/prediction"))[-1])
        assert {"label", "confidence", "end_us"} == set(prediction)

        whole: dict[str, Any] = json.loads(listener.payloads_of("homeassistant/device/braid_hall/config")[-1])
        Draft202012Validator(home_assistant.CONFIG).validate(whole)
        source_topics = [e["state_topic"] for e in whole["components"].values() if e["platform"] == "binary_sensor"]
        assert len(source_topics) == 3, "an end record adds no source"
        for topic in source_topics:
            assert (await listener.wait(topic))[0] == b"ON"
        assert {e["platform"] for e in whole["components"].values()} == {
            "event",
            "sensor",
            "binary_sensor",
            "image",
            "switch",
        }

        end_us = prediction["end_us"]
        step = Event(
            "hall/1", "hall", "new", "dog", "sound", end_us - 8_000_000, end_us + 8_000_000, 0.9, end_us, True, "p"
        )
        await publish_event(settings, step)

        async def find_event() -> dict[str, Any] | None:
            # The model may detect events in the session as well.
            events = [json.loads(m) for m in listener.payloads_of("braid/sessions/hall/event") if b'"id":"hall/1"' in m]
            return events[0] if events else None

        ha_event = await wait_until(find_event, "the event")
        assert ha_event["event_type"] == "dog"
        assert (await listener.wait("braid/sessions/hall/image"))[-1] == hand

        async def is_forwarded() -> bool | None:
            return event.encode(step) in listener.payloads_of("braid/sessions/hall/step") or None

        await wait_until(is_forwarded, "the event's step")
        for topic in source_topics:
            assert (await listener.wait(topic, 2))[1] == b"OFF", "a source that sends no more is silent"
    assert config


async def test_everything_but_events_is_published_again_when_home_assistant_starts(
    settings: Settings, bridge: ServiceProcess, mosquitto: Mosquitto, hand: bytes
) -> None:
    await play_session(settings, "loft", hand)
    async with subscribe(mosquitto.port) as (listener, client):
        await listener.wait("homeassistant/device/braid_loft/config")
        before = len(listener.payloads_of("homeassistant/device/braid_loft/config"))
        await client.publish("homeassistant/status", "online", qos=1)
        await listener.wait("homeassistant/device/braid_loft/config", before + 1)
        # One that is published while the next client subscribes reaches it without the mark of a retained message.
        for topic in {m.topic.value for m in listener.messages if m.topic.value.endswith("/config")}:
            await listener.wait(topic, 2)
    async with subscribe(mosquitto.port) as (late, _):
        await late.wait("homeassistant/device/braid_loft/config")
        assert all(m.retain for m in late.messages if m.topic.value.endswith("/config"))
        assert not [m for m in late.messages if m.retain and m.topic.value.endswith(("/event", "/step", "/image"))]


async def test_a_switch_mutes_and_unmutes_a_modality_for_every_service(
    settings: Settings, bridge: ServiceProcess, mosquitto: Mosquitto, hand: bytes
) -> None:
    async with subscribe(mosquitto.port) as (listener, client):
        await play_session(settings, "den", hand)
        topic = "braid/sessions/den/mute/audio"
        assert (await listener.wait(topic))[-1] == b"OFF"

        for state in (b"ON", b"OFF"):
            before = len(listener.payloads_of(topic))
            await client.publish(f"{topic}/set", state, qos=1)
            assert (await listener.wait(topic, before + 1))[-1] == state
            async with clients.reader(settings.kafka.bootstrap_servers) as reader:
                control = await read_control(reader, settings.topic_names(), settings.topics.partitions, "den")
            assert ("audio" in control.muted_since_us) is (state == b"ON")
        assert len(control.past_mutes["audio"]) == 1


async def test_the_bridge_is_unavailable_after_kill_and_available_after_a_restart(
    bridge: ServiceProcess, mosquitto: Mosquitto
) -> None:
    async with subscribe(mosquitto.port) as (listener, _):
        await listener.wait("braid/bridge/available")
        bridge.child.kill()
        assert (await listener.wait("braid/bridge/available", 2))[-1] == b"offline"
        bridge.start()
        await bridge.wait_until_ready()
        assert (await listener.wait("braid/bridge/available", 3))[-1] == b"online"


async def test_everything_is_published_again_after_an_outage_of_the_mqtt_broker(
    bridge: ServiceProcess, mosquitto: Mosquitto
) -> None:
    await mosquitto.child.stop()

    async def away() -> bool:
        return await asyncio.to_thread(bridge.read_metric, "braid_mqtt_connected") == 0

    await wait_until(away, "the bridge to notice")
    assert bridge.get("/readyz") is None
    assert bridge.get("/healthz") is not None, "it waits, and does not end"
    await mosquitto.start()
    async with subscribe(mosquitto.port) as (listener, _):
        assert (await listener.wait("braid/bridge/available"))[-1] == b"online"


async def test_the_bridge_ends_on_sigterm_while_the_mqtt_broker_hangs(
    bridge: ServiceProcess, mosquitto: Mosquitto
) -> None:
    await bridge.wait_until_ready()
    mosquitto.child.signal(signal.SIGSTOP)
    try:
        bridge.child.signal(signal.SIGTERM)

        async def has_ended() -> bool:
            return not bridge.child.running

        await wait_until(has_ended, "the bridge to end")
    finally:
        mosquitto.child.signal(signal.SIGCONT)
