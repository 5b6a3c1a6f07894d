"""The server for satellites: which may connect, how many at a time, and their records into the topics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.contract import cloudevents
from services.contract.alignment_config import AdmissionLimits
from services.contract.topics import Topics
from services.integrations.wyoming.audio_events import MediaRecord, SatelliteDecoder
from services.integrations.wyoming.connection import SatelliteConnection
from services.integrations.wyoming.protocol import LINE_BYTES_MAX, LengthLimits, ProtocolError
from services.runtime.device_directory import DeviceDirectory
from services.runtime.metric_definitions import WyomingMetrics
from services.runtime.settings import WyomingSettings

ACKNOWLEDGED_WITHIN_S = 20
LINGER_S, LINGER_BYTES_MAX = 1.0, 1_000_000
_log = logging.getLogger(__name__)


def session_of(address: str, sessions: Mapping[str, str], default: str) -> str:
    """Return the session of a satellite by its address; "" if it has none and must be rejected."""
    return sessions.get(address.removeprefix("::ffff:"), default)


def device_of(address: str) -> str:
    """Return the device name of a satellite in `ce_source`; its times are this machine's and need no correction."""
    return f"wyoming-{address}"


class WyomingServer:
    """Serves satellites until `run` is cancelled."""

    def __init__(
        self,
        settings: WyomingSettings,
        topics: Topics,
        limits: AdmissionLimits,
        producer: AIOKafkaProducer,
        devices: DeviceDirectory,
        metrics: WyomingMetrics,
    ) -> None:
        self._settings, self._topics, self._limits, self._devices = settings, topics, limits, devices
        self._producer, self._metrics = producer, metrics
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket) -> None:
        """Serve on a bound socket; what arrived before the end is still published."""
        server = await asyncio.start_server(self._connected, sock=listener, limit=LINE_BYTES_MAX)
        try:
            await server.serve_forever()
        finally:
            server.close()
            connections = list(self._connections)
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        s, peer = self._settings, writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        device = self._devices.settings_of(cloudevents.device_source(device_of(address), "audio"))
        session = (device.session if device else "") or session_of(address, s.sessions, s.session)
        if not session or len(self._connections) >= s.connections_max:
            reason = "connections" if session else "address"
            self._metrics.connections_rejected.labels(reason).inc()
            _log.warning("A satellite was rejected.", extra={"address": address, "why": reason})
            writer.close()
            return
        task = asyncio.create_task(self._serve(session, address, reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._disconnected)
        self._metrics.connections.set(len(self._connections))

    def _disconnected(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._metrics.connections.set(len(self._connections))

    async def _serve(
        self, session: str, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        s = self._settings

        async def publish(record: MediaRecord) -> None:
            await self._publish(session, record)

        decoder = SatelliteDecoder(session, device_of(address), secrets.token_hex(8), self._limits)
        satellite = SatelliteConnection(
            decoder, LengthLimits(s.data_bytes_max, s.payload_bytes_max), publish, s.forward_to
        )
        try:
            await satellite.serve(reader, writer)
        except ProtocolError as error:
            self._metrics.connections_rejected.labels(error.code).inc()
            _log.warning("A satellite was disconnected.", extra={"address": address, "why": str(error)})
            await _drain(reader, writer)
        except ConnectionError as error:
            _log.info("A satellite has disconnected.", extra={"address": address, "why": type(error).__name__})
        finally:
            writer.close()

    async def _publish(self, session: str, record: MediaRecord) -> None:
        """Send a record; while the broker is unreachable the satellite waits, then the record is lost and counted."""
        topic = self._topics.media(record.modality)
        sent = self._producer.send_and_wait(topic, record.body, key=session.encode(), headers=record.headers)
        try:
            await asyncio.wait_for(sent, ACKNOWLEDGED_WITHIN_S)
        except (KafkaError, TimeoutError) as error:
            self._metrics.records_lost.labels(record.modality).inc()
            _log.warning("The broker did not acknowledge a record; it is lost.", extra={"why": type(error).__name__})
        else:
            self._metrics.records.labels(record.modality).inc()


async def _drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read on within limits: TCP discards the error message if the socket is closed with unread input."""
    left = LINGER_BYTES_MAX
    with contextlib.suppress(TimeoutError, OSError):
        writer.write_eof()
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (data := await reader.read(65_536)):
                left -= len(data)
