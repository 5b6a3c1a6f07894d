"""The bridge to MQTT and Home Assistant as a process: `braid run mqtt`."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from importlib.metadata import version
from pathlib import Path

from aiokafka.errors import KafkaError

from model.checkpoint_files import resolve_checkpoint
from model.labels import NOTHING
from services.contract import canonical
from services.contract.user_errors import BraidError
from services.integrations.mqtt.client import MqttClient
from services.integrations.mqtt.follower import BridgeFollower
from services.integrations.mqtt.state import BridgeLimits, BridgeState
from services.integrations.mqtt.topics import MqttTopics
from services.kafka import clients, wait_for_broker
from services.kafka.broker_liveness import broker_dependency
from services.kafka.control_topic import ControlTopic, update_control
from services.kafka.signing_secret import check_secret
from services.runtime import logs
from services.runtime.health import Progress, supervised
from services.runtime.metric_definitions import MqttMetrics, make_registry
from services.runtime.net import is_loopback
from services.runtime.process import run_main, run_until_first_ends
from services.runtime.settings import MqttSettings, Settings, SettingsError, load

_log = logging.getLogger("services.integrations.mqtt")


def check_settings(settings: MqttSettings) -> None:
    """Raise SettingsError if the bridge must not start with these settings."""
    if not settings.host:
        raise SettingsError("The bridge to MQTT cannot start.", "mqtt.host is empty.", "Set BRAID_MQTT__HOST.")
    if not settings.tls and not settings.allow_unencrypted and not is_loopback(settings.host):
        raise SettingsError(
            "The bridge to MQTT cannot start.",
            f"What devices see would go unencrypted to {settings.host}.",
            "Set BRAID_MQTT__TLS=true (BRAID_MQTT__PORT is then usually 8883), or BRAID_MQTT__ALLOW_UNENCRYPTED=true in a "
            "network of your own.",
        )


def labels_of(checkpoint: Path) -> list[str]:
    """Return the labels of the model; none without its checkpoint, then the bridge learns them from events."""
    try:
        config = canonical.loads_object((resolve_checkpoint(checkpoint) / "config.json").read_bytes())
    except (OSError, canonical.InvalidJson):
        return []
    return [label for label in config.get("labels", ()) if label != NOTHING]


async def serve(settings: Settings, metrics: MqttMetrics, progress: Progress) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    m = settings.mqtt
    mqtt_topics = MqttTopics(m.prefix, m.discovery_prefix)
    limits = BridgeLimits(m.sessions_max, m.sources_max, m.silent_s * 1_000_000)
    topics, partitions = settings.topic_names(), settings.topics.partitions
    labels = labels_of(settings.fusion.model)
    state = BridgeState(mqtt_topics, labels, limits, version("braid"), topics.modalities)
    controls = ControlTopic.from_settings(settings)

    async def command(topic: str, payload: bytes) -> None:
        """Write a switch command to the control topic, from which the new state of the switch comes back."""
        parsed = state.parse_command(topic, payload)
        if parsed is None:
            return
        session, modality, mute = parsed
        now_us = time.time_ns() // 1000
        try:
            async with clients.reader(settings.kafka) as reader, clients.producer(settings.kafka) as producer:
                await update_control(
                    reader,
                    producer,
                    topics,
                    partitions,
                    session,
                    lambda c: c.mute([modality], now_us) if mute else c.unmute([modality], now_us),
                )
        except (KafkaError, BraidError, TimeoutError) as error:
            _log.error("A mute switch failed.", extra={"why": str(error)})

    client = MqttClient(m, mqtt_topics, lambda: state.announce(time.time_ns() // 1000), command, metrics, progress)
    controls.on_change(lambda control: client.send(list(state.control(control))))
    follower = BridgeFollower(
        lambda: clients.make_reader(settings.kafka, **clients.FOLLOW),
        topics,
        settings.alignment_config(),
        partitions,
        state,
        client,
        m.images,
        metrics,
        progress,
    )
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)

    async def follow() -> None:
        await wait_for_broker.started(lambda: check_secret(settings), progress)
        # Nothing is published before every mute is known.
        await wait_for_broker.started(controls.start, progress)
        await asyncio.gather(controls.wait_for_failure(), follower.run())

    async def wait_for_signal() -> None:
        await ended.wait()

    try:
        await run_until_first_ends(client.run(), follow(), wait_for_signal())
    finally:
        await controls.stop()


def main(settings: Settings | None = None) -> int:
    """Run until SIGTERM and return the exit code."""
    settings = settings or load()
    logs.setup()
    settings.require_broker()
    check_settings(settings.mqtt)
    registry = make_registry("mqtt")
    with supervised("braid-mqtt", settings, registry, (broker_dependency(settings.kafka),)) as progress:
        asyncio.run(serve(settings, MqttMetrics(registry), progress))
    return 0


if __name__ == "__main__":
    run_main(main)
