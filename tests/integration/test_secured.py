"""Kafka and Redis with TLS and passwords: services and commands connect by their settings, others are rejected."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from services.contract import canonical, cloudevents, tick
from services.contract.partitioner import partition_of
from services.contract.signature import Signer
from services.inspection.audit.collect import collect_topic
from services.kafka import clients, topic_admin
from services.local.kafka import LocalKafka
from services.local.ports import free_ports
from services.local.redis import LocalRedis
from services.local.services import ServiceProcess
from services.runtime.settings import KafkaSettings, load
from services.storage.payload_cache import PayloadCache
from services.storage.redis_client import RedisServer
from tests.integration.mosquitto import system_binary
from tests.waiting import DEADLINE_S, wait_until

PASSWORD = "correct horse"
SECRET = "a secret of the house"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@dataclass(frozen=True, slots=True)
class SecuredBroker:
    """A broker with two TLS listeners: one requires a password, one a client certificate."""

    by_password: KafkaSettings
    by_certificate: KafkaSettings


def create_certificate(folder: Path, name: str, authority: str = "") -> None:
    """Create a key and a certificate for 127.0.0.1, signed by an authority, or an authority itself."""
    ask = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
    signed = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"] if authority else []
    more = ["-addext", "subjectAltName=IP:127.0.0.1"] if authority else []
    words = [system_binary("openssl", "openssl"), *ask, *files, *signed, *more]
    subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=DEADLINE_S)


@pytest.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredBroker]:
    folder = tmp_path_factory.mktemp("secured")
    for name, authority in (("authority", ""), ("broker", "authority"), ("client", "authority"), ("stranger", "")):
        create_certificate(folder, name, authority)
    (folder / "both.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())
    password_port, certificate_port = free_ports(2)
    listeners = f"PLAINTEXT://127.0.0.1:{{port}},PASSWORD://127.0.0.1:{password_port},CERTIFICATE://127.0.0.1:{certificate_port}"
    more = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{{controller}}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PASSWORD:SASL_SSL,CERTIFICATE:SSL",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.password.scram-sha-512.sasl.jaas.config": f"{SCRAM};",
        "listener.name.password.plain.sasl.jaas.config": f'{LOGIN} user_braid="{PASSWORD}";',
        "listener.name.certificate.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "both.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "authority.pem"),
    }
    broker = LocalKafka(folder, more, ("--add-scram", f"SCRAM-SHA-512=[name=braid,password={PASSWORD}]"))
    await broker.start()
    trusting = KafkaSettings(ca_file=folder / "authority.pem")
    yield SecuredBroker(
        trusting.model_copy(
            update={
                "bootstrap_servers": f"127.0.0.1:{password_port}",
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "PLAIN",
                "sasl_username": "braid",
                "sasl_password": SecretStr(PASSWORD),
            }
        ),
        trusting.model_copy(
            update={
                "bootstrap_servers": f"127.0.0.1:{certificate_port}",
                "security_protocol": "SSL",
                "cert_file": folder / "client.pem",
                "key_file": folder / "client.key",
            }
        ),
    )
    await broker.child.stop()


async def list_topics(settings: KafkaSettings) -> set[str]:
    async with clients.admin(settings) as admin:
        return set(await admin.list_topics())


async def test_a_service_and_the_command_line_connect_with_tls_and_a_password(
    secured: SecuredBroker, hand: bytes, tmp_path: Path
) -> None:
    k = secured.by_password
    assert k.ca_file is not None
    other_authority = k.ca_file.with_name("stranger.pem")
    environment = {
        "BRAID_KAFKA__BOOTSTRAP_SERVERS": k.bootstrap_servers,
        "BRAID_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "BRAID_KAFKA__CA_FILE": str(k.ca_file),
        "BRAID_KAFKA__SASL_MECHANISM": "PLAIN",
        "BRAID_KAFKA__SASL_USERNAME": "braid",
        "BRAID_KAFKA__SASL_PASSWORD": PASSWORD,
        "BRAID_KAFKA__SIGNING_SECRETS": json.dumps([SECRET]),
    }
    async with clients.admin(k) as admin:
        assert await topic_admin.create_missing_topics(
            admin, load(kafka=k.model_dump() | {"signing_secrets": [SECRET]})
        )
    redis = LocalRedis(tmp_path)
    await redis.start()
    behind = int(redis.url.rsplit(":", 1)[1].split("/")[0])
    encrypted = TlsProxy(k.ca_file.with_name("broker.pem"), k.ca_file.with_name("broker.key"), behind)
    url = f"rediss://127.0.0.1:{await encrypted.start()}/0"
    environment |= {"BRAID_REDIS__URL": url, "BRAID_REDIS__CA_FILE": str(k.ca_file)}
    environment |= {
        "BRAID_ARCHIVE__FOLDER": str(tmp_path / "evidence"),
        "BRAID_LABELS__FOLDER": str(tmp_path / "labels"),
    }
    aligner = ServiceProcess("aligner", tmp_path, environment)
    try:
        aligner.start()
        await aligner.wait_until_ready()
        for words in (["topics", "check"], ["forget", "nobody"]):
            verb = [str(Path(sys.executable).parent / "braid"), *words]
            # In a thread, because the TLS proxy of Redis runs in this event loop.
            done = await asyncio.to_thread(
                subprocess.run,
                verb,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        await check_forged_ticks(k, hand)
        assert aligner.read_metric("braid_redis_errors_total") == 0
        window = PayloadCache(RedisServer(url, {"ssl_ca_certs": str(k.ca_file)}), 60, 5_000)
        assert (await window.forget("s") or 0) > 0, "the payload was written through TLS"
        await window.close()
        untrusting = PayloadCache(RedisServer(url, {"ssl_ca_certs": str(other_authority)}), 60, 5_000)
        assert await untrusting.forget("s") is None, "a client that does not trust the authority does not connect"
        await untrusting.close()
    finally:
        assert await aligner.child.stop() == 0
        await encrypted.stop()
        await redis.child.stop()
    log = aligner.child.log.read_text()
    assert PASSWORD not in log


async def check_forged_ticks(k: KafkaSettings, hand: bytes) -> None:
    """Send an image whose windows wait for silent streams, and a forged idle record that would close them."""
    topics, start_us = load().topic_names(), time.time_ns() // 1000
    headers = cloudevents.build_headers(
        session="s",
        source="/d/cam",
        id="1",
        type=cloudevents.media_type("video"),
        t_us=start_us,
        content_type="image/jpeg",
    )
    (forged,) = tick.encode({"s": start_us + 3_600_000_000}, "tick")
    number = partition_of(b"s", load().topics.partitions)
    async with clients.producer(k) as producer, clients.reader(k) as reader:
        await producer.send_and_wait(topics.media("video"), hand, key=b"s", headers=headers)
        await producer.send_and_wait(topics.media("audio"), forged, partition=number, headers=tick.headers(forged))

        async def closed() -> bool:
            return bool(
                [w for w in await collect_topic(reader, topics.windows, 8) if b'"final":true' in (w.value or b"")]
            )

        await wait_until(closed, "final windows, closed by the idle records of the aligner")
        dead = [canonical.loads_object(d.value or b"") for d in await collect_topic(reader, topics.dead, 8)]
        assert [(d["topic"], d["reason"]) for d in dead] == [(topics.media("audio"), "forged")]
        ticks = [
            r for r in await collect_topic(reader, topics.media("audio"), 8) if r.key is None and r.value != forged
        ]
    signer = Signer((SECRET.encode(),))
    assert ticks
    for one in ticks:
        assert signer.verify(topics.media("audio"), number, one)


async def test_the_default_sasl_mechanism_accepts_the_password_and_rejects_a_wrong_one(secured: SecuredBroker) -> None:
    scram = secured.by_password.model_copy(update={"sasl_mechanism": KafkaSettings().sasl_mechanism})
    assert scram.sasl_mechanism == "SCRAM-SHA-512"
    assert "braid.dead.v1" in await list_topics(scram)
    with pytest.raises(KafkaError):
        await list_topics(scram.model_copy(update={"sasl_password": SecretStr("battery staple")}))


async def test_a_client_connects_with_a_certificate(secured: SecuredBroker) -> None:
    assert "braid.dead.v1" in await list_topics(secured.by_certificate)
    with pytest.raises(KafkaError):
        await list_topics(secured.by_certificate.model_copy(update={"cert_file": None, "key_file": None}))


async def test_a_wrong_password_an_unknown_authority_and_plaintext_are_rejected(secured: SecuredBroker) -> None:
    k = secured.by_password
    assert k.ca_file is not None
    for wrong in (
        {"sasl_password": SecretStr("battery staple")},
        {"ca_file": k.ca_file.with_name("stranger.pem")},
        {"security_protocol": "PLAINTEXT"},
    ):
        with pytest.raises(KafkaError):
            await list_topics(k.model_copy(update=wrong))


async def test_an_invalid_certificate_file_is_reported_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for path in (tmp_path / "none.pem", tmp_path / "not there"):
        with pytest.raises(clients.CertificateError, match=r"kafka\.ca_file"):
            clients.connection_options(KafkaSettings(bootstrap_servers="x:1", security_protocol="SSL", ca_file=path))


def test_passwords_are_not_printed() -> None:
    printed = load(kafka={"sasl_password": PASSWORD}, redis={"password": PASSWORD}).model_dump_json()
    assert PASSWORD not in printed


class TlsProxy:
    """TLS on a free port in front of a server without TLS: the packaged Redis is built without it."""

    def __init__(self, certificate: Path, key: Path, server_port: int) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._server_port = server_port

    async def start(self) -> int:
        """Start and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", self._server_port)
        await asyncio.gather(_forward(reader, outer), _forward(inner, writer), return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    finally:
        writer.close()
