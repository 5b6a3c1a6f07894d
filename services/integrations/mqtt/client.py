"""The connection to the MQTT broker: a bounded queue of messages, and retained state that is announced again."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from services.integrations.mqtt.discovery import OFFLINE, ONLINE
from services.integrations.mqtt.state import MqttMessage
from services.integrations.mqtt.topics import MqttTopics
from services.runtime.health import Progress
from services.runtime.metric_definitions import MqttMetrics
from services.runtime.process import raise_if_cancelled, run_until_first_ends
from services.runtime.settings import MqttSettings

RETRY_S, RETRY_S_MAX, TIMEOUT_S, KEEPALIVE_S, INCOMING_MAX = 1.0, 30.0, 10.0, 30, 16
# The broker must not deliver larger messages: commands have a few bytes, and any client may publish (and retain) 256 MB.
INCOMING_BYTES_MAX = 64 * 1024
UNSUPPORTED = "Unsupported protocol version"
# A broker that hangs must not delay the end of the process; it sends the will in place of the last message.
LAST_MESSAGE_WITHIN_S = 3.0
_log = logging.getLogger(__name__)


def _make_client(
    settings: MqttSettings, will: aiomqtt.Will | None, protocol: aiomqtt.ProtocolVersion
) -> aiomqtt.Client:
    properties = None
    if protocol == aiomqtt.ProtocolVersion.V5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = INCOMING_BYTES_MAX
    return aiomqtt.Client(
        settings.host,
        settings.port,
        username=settings.username or None,
        password=settings.password.get_secret_value() or None,
        tls_context=ssl.create_default_context() if settings.tls else None,
        will=will,
        protocol=protocol,
        properties=properties,
        timeout=TIMEOUT_S,
        keepalive=KEEPALIVE_S,
        max_queued_incoming_messages=INCOMING_MAX,
    )


async def check_connection(settings: MqttSettings) -> str:
    """Connect once with these settings; return why that fails, or an empty text."""
    try:
        async with _make_client(settings, None, aiomqtt.ProtocolVersion.V311):
            return ""
    except aiomqtt.MqttError as error:
        return str(error)


class MqttClient:
    """A client that never blocks its caller.

    Messages without room in the queue or without a connection are dropped and counted; retained ones are announced again
    later.
    """

    def __init__(
        self,
        settings: MqttSettings,
        topics: MqttTopics,
        announce: Callable[[], Iterable[MqttMessage]],
        command: Callable[[str, bytes], Awaitable[None]],
        metrics: MqttMetrics,
        progress: Progress,
    ) -> None:
        self._settings, self._topics, self._announce, self._command = settings, topics, announce, command
        self._metrics, self._progress = metrics, progress
        self._queue: asyncio.Queue[MqttMessage] = asyncio.Queue(settings.queue_max)
        self._connected = self._is_incomplete = False
        # MQTT 5 limits the size of incoming messages; a broker that does not speak it is asked in 3.1.1 then.
        self._protocol = aiomqtt.ProtocolVersion.V5

    def send(self, messages: Iterable[MqttMessage]) -> None:
        """Put messages in the queue, in order."""
        for message in messages:
            if not self._connected or self._queue.full():
                self._metrics.dropped.labels(message.kind).inc()
                self._is_incomplete |= message.retain
            else:
                self._queue.put_nowait(message)

    async def run(self) -> None:
        """Stay connected until cancelled; then announce that the bridge is offline. Pauses between attempts grow."""
        pause_s = RETRY_S
        while True:
            try:
                async with self._client() as client:
                    await self._serve(client)
            except aiomqtt.MqttError as error:
                # The last message to a broker that hangs fails, which must not replace the cancellation.
                raise_if_cancelled()
                if self._connected:
                    pause_s = RETRY_S
                if isinstance(error, aiomqtt.MqttCodeError) and str(error.rc) == UNSUPPORTED:
                    self._protocol, pause_s = aiomqtt.ProtocolVersion.V311, 0.0
                extra = {"why": str(error), "retry_s": pause_s}
                _log.warning("The MQTT broker cannot be reached; retrying.", extra=extra)
            finally:
                self._connected = False
                self._metrics.connected.set(0)
                self._progress.not_ready["mqtt"] = "the MQTT broker cannot be reached"
            await asyncio.sleep(pause_s)
            pause_s = min(max(2 * pause_s, RETRY_S), RETRY_S_MAX)

    def _client(self) -> aiomqtt.Client:
        will = aiomqtt.Will(self._topics.available, OFFLINE, qos=1, retain=True)
        return _make_client(self._settings, will, self._protocol)

    async def _serve(self, client: aiomqtt.Client) -> None:
        while not self._queue.empty():
            self._metrics.dropped.labels(self._queue.get_nowait().kind).inc()
        for topic in (self._topics.birth, self._topics.commands):
            await client.subscribe(topic, qos=1)
        self._connected = True
        self._metrics.connected.set(1)
        await self._announce_all(client)
        self._progress.not_ready.pop("mqtt", None)
        try:
            await run_until_first_ends(self._sending(client), self._listening(client))
        finally:
            await client.publish(self._topics.available, OFFLINE, qos=1, retain=True, timeout=LAST_MESSAGE_WITHIN_S)

    async def _sending(self, client: aiomqtt.Client) -> None:
        while True:
            await self._publish(client, await self._queue.get())
            if self._is_incomplete and self._queue.empty():
                await self._announce_all(client)

    async def _listening(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if message.retain:
                continue  # An old command: the broker must not repeat it to a new subscriber.
            payload = bytes(message.payload) if isinstance(message.payload, bytes | bytearray) else b""
            if message.topic.value != self._topics.birth:
                await self._command(message.topic.value, payload)
            elif payload == ONLINE.encode():
                await self._announce_all(client)

    async def _announce_all(self, client: aiomqtt.Client) -> None:
        # Past the queue: there may be more of it than fits, and none may be dropped.
        self._is_incomplete = False
        for message in list(self._announce()):
            await self._publish(client, message)

    async def _publish(self, client: aiomqtt.Client, message: MqttMessage) -> None:
        await client.publish(message.topic, message.payload, message.qos, message.retain, timeout=TIMEOUT_S)
        self._metrics.published.labels(message.kind).inc()
