"""The listening side: who may connect, how many at a time, and their records into the topics."""

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
from services.runtime.devices import DeviceDirectory
from services.runtime.metrics import WyomingMetrics
from services.runtime.settings import WyomingSettings

ACKNOWLEDGED_WITHIN_S = 20
LINGER_S, LINGER_BYTES_MAX = 1.0, 1_000_000
_log = logging.getLogger(__name__)


def session_of(address: str, sessions: Mapping[str, str], otherwise: str) -> str:
    """The session of a satellite by its address; "" where it belongs to none and is refused."""
    return sessions.get(address.removeprefix("::ffff:"), otherwise)


def name_of(address: str) -> str:
    """The device that a satellite is in `ce_source`. Its times are ours: there is no clock of its own to correct."""
    return f"wyoming-{address}"


class WyomingServer:
    """Takes satellites until `run` is cancelled."""

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
        self._served: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket) -> None:
        """Serve on a bound socket; at the end what was heard so far is still taken."""
        server = await asyncio.start_server(self._connected, sock=listener, limit=LINE_BYTES_MAX)
        try:
            await server.serve_forever()
        finally:
            server.close()
            served = list(self._served)
            for task in served:
                task.cancel()
            await asyncio.gather(*served, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        s, peer = self._settings, writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        device = self._devices.settings_of(cloudevents.device_source(name_of(address), "audio"))
        session = (device.session if device else "") or session_of(address, s.sessions, s.session)
        if not session or len(self._served) >= s.connections_max:
            why = "connections" if session else "address"
            self._metrics.connections_rejected.labels(why).inc()
            _log.warning("a satellite is not served", extra={"address": address, "why": why})
            writer.close()
            return
        task = asyncio.create_task(self._serve(session, address, reader, writer))
        self._served.add(task)
        task.add_done_callback(self._gone)
        self._metrics.connections.set(len(self._served))

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._served.discard(task)
        self._metrics.connections.set(len(self._served))

    async def _serve(
        self, session: str, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        s = self._settings

        async def take(record: MediaRecord) -> None:
            await self._take(session, record)

        hearing = SatelliteDecoder(session, name_of(address), secrets.token_hex(8), self._limits)
        satellite = SatelliteConnection(
            hearing, LengthLimits(s.data_bytes_max, s.payload_bytes_max), take, s.forward_to
        )
        try:
            await satellite.serve(reader, writer)
        except ProtocolError as refused:
            self._metrics.connections_rejected.labels(refused.code).inc()
            _log.warning("a satellite is cut off", extra={"address": address, "why": str(refused)})
            await _let_it_read(reader, writer)
        except ConnectionError as error:
            _log.info("a satellite has gone", extra={"address": address, "why": type(error).__name__})
        finally:
            writer.close()

    async def _take(self, session: str, record: MediaRecord) -> None:
        """Into the log; a broker that is away makes the satellite wait, then costs this record, which is counted."""
        topic = self._topics.media(record.modality)
        sent = self._producer.send_and_wait(topic, record.body, key=session.encode(), headers=record.headers)
        try:
            await asyncio.wait_for(sent, ACKNOWLEDGED_WITHIN_S)
        except (KafkaError, TimeoutError) as error:
            self._metrics.records_lost.labels(record.modality).inc()
            _log.warning("the broker has not acknowledged a record", extra={"why": type(error).__name__})
        else:
            self._metrics.records.labels(record.modality).inc()


async def _let_it_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what the satellite still sends, within bounds: closed over unread bytes, TCP takes back what we told it."""
    left = LINGER_BYTES_MAX
    with contextlib.suppress(TimeoutError, OSError):
        writer.write_eof()
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (read := await reader.read(65_536)):
                left -= len(read)
