"""The MQTT broker's side: messages out of a bounded queue, everything announced again when it is due."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable

import aiomqtt

from services.integrations.mqtt.discovery import OFFLINE, ONLINE
from services.integrations.mqtt.state import MqttMessage
from services.integrations.mqtt.topics import MqttTopics
from services.runtime.health import Progress
from services.runtime.metrics import MqttMetrics
from services.runtime.settings import MqttSettings
from services.runtime.tasks import run_until_first_ends

AGAIN_S, TIMEOUT_S, KEEPALIVE_S, INCOMING_MAX = 1.0, 10.0, 30, 16
_log = logging.getLogger(__name__)


class MqttClient:
    """`send` never waits: what finds no room or no broker is dropped and counted; what is retained is told again later."""

    def __init__(
        self,
        settings: MqttSettings,
        names: MqttTopics,
        announce: Callable[[], Iterable[MqttMessage]],
        command: Callable[[str, bytes], Awaitable[None]],
        metrics: MqttMetrics,
        progress: Progress,
    ) -> None:
        self._settings, self._names, self._announce, self._command = settings, names, announce, command
        self._metrics, self._progress = metrics, progress
        self._queue: asyncio.Queue[MqttMessage] = asyncio.Queue(settings.queue_max)
        self._connected = self._behind = False

    def send(self, messages: Iterable[MqttMessage]) -> None:
        """Put messages in the queue, in order."""
        for message in messages:
            if not self._connected or self._queue.full():
                self._metrics.dropped.labels(message.kind).inc()
                self._behind |= message.retain
            else:
                self._queue.put_nowait(message)

    async def run(self) -> None:
        """Stay connected until cancelled; then say that the bridge has gone."""
        while True:
            try:
                async with self._client() as client:
                    await self._serve(client)
            except aiomqtt.MqttError as error:
                _log.warning("the MQTT broker cannot be reached: trying again", extra={"why": str(error)})
            finally:
                self._connected = False
                self._metrics.connected.set(0)
                self._progress.not_ready["mqtt"] = "the MQTT broker cannot be reached"
            await asyncio.sleep(AGAIN_S)

    def _client(self) -> aiomqtt.Client:
        s = self._settings
        return aiomqtt.Client(
            s.host,
            s.port,
            username=s.username or None,
            password=s.password.get_secret_value() or None,
            tls_context=ssl.create_default_context() if s.tls else None,
            will=aiomqtt.Will(self._names.available, OFFLINE, qos=1, retain=True),
            timeout=TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_queued_incoming_messages=INCOMING_MAX,
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        while not self._queue.empty():
            self._metrics.dropped.labels(self._queue.get_nowait().kind).inc()
        for topic in (self._names.birth, self._names.commands):
            await client.subscribe(topic, qos=1)
        self._connected = True
        self._metrics.connected.set(1)
        await self._say_all(client)
        self._progress.not_ready.pop("mqtt", None)
        try:
            await run_until_first_ends(self._sending(client), self._listening(client))
        finally:
            await client.publish(self._names.available, OFFLINE, qos=1, retain=True, timeout=TIMEOUT_S)

    async def _sending(self, client: aiomqtt.Client) -> None:
        while True:
            await self._publish(client, await self._queue.get())
            if self._behind and self._queue.empty():
                await self._say_all(client)

    async def _listening(self, client: aiomqtt.Client) -> None:
        async for heard in client.messages:
            if heard.retain:
                continue  # what was said to somebody else, once
            payload = bytes(heard.payload) if isinstance(heard.payload, bytes | bytearray) else b""
            if heard.topic.value != self._names.birth:
                await self._command(heard.topic.value, payload)
            elif payload == ONLINE.encode():
                await self._say_all(client)

    async def _say_all(self, client: aiomqtt.Client) -> None:
        """Not by the queue: it may be longer than that, and none of it may be dropped."""
        self._behind = False
        for message in list(self._announce()):
            await self._publish(client, message)

    async def _publish(self, client: aiomqtt.Client, message: MqttMessage) -> None:
        await client.publish(message.topic, message.payload, message.qos, message.retain, timeout=TIMEOUT_S)
        self._metrics.published.labels(message.kind).inc()
