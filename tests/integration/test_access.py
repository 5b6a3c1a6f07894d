"""The access rules of `braid topics acl` on a broker with an authorizer and on a Redis with users."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from services.contract.topics import ROLES, Role, Topics
from services.kafka import clients, topic_admin
from services.local.kafka import LocalKafka
from services.local.ports import free_ports
from services.local.redis import LocalRedis
from services.local.services import ServiceProcess
from services.runtime.settings import KafkaSettings, Settings, load
from tests.integration import session
from tests.waiting import DEADLINE_S, wait_until

PASSWORD = "correct-horse-battery"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
# Numbers of Kafka's protocol (AclOperation, ResourceType, PatternType, AclPermissionType).
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11}
RESOURCES = {"--topic": 2, "--group": 3}
LITERAL, ALLOW = 3, 3


@dataclass(frozen=True, slots=True)
class GuardedStack:
    """A broker and a Redis with the printed access rules; `admin` may do everything."""

    admin: str
    by_password: str
    redis_url: str
    folder: Path

    def kafka(self, role: Role) -> KafkaSettings:
        """Connect as a role, without a signing secret."""
        return KafkaSettings(
            bootstrap_servers=self.by_password,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username=f"braid-{role}",
            sasl_password=SecretStr(PASSWORD),
            signing_file=self.folder / "no file",
        )

    def environment(self, role: Role) -> dict[str, str]:
        """The environment of the process of a role."""
        return {
            "BRAID_KAFKA__BOOTSTRAP_SERVERS": self.by_password,
            "BRAID_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "BRAID_KAFKA__SASL_MECHANISM": "PLAIN",
            "BRAID_KAFKA__SASL_USERNAME": f"braid-{role}",
            "BRAID_KAFKA__SASL_PASSWORD": PASSWORD,
            "BRAID_KAFKA__SIGNING_FILE": str(self.folder / "signing.json"),
            "BRAID_REDIS__URL": self.redis_url,
            "BRAID_REDIS__USERNAME": f"braid-{role}",
            "BRAID_REDIS__PASSWORD": PASSWORD,
            "BRAID_ARCHIVE__FOLDER": str(self.folder / "evidence"),
            "BRAID_LABELS__FOLDER": str(self.folder / "labels"),
        }

    async def run_braid(self, role: Role, *words: str) -> tuple[int, str]:
        """Run a command as a role; return the exit code and what it printed."""
        done = await asyncio.to_thread(
            subprocess.run,
            [str(Path(sys.executable).parent / "braid"), *words],
            env={**os.environ, **self.environment(role)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        return done.returncode, done.stdout + done.stderr

    def settings(self) -> Settings:
        """The settings of a reader that may do everything."""
        return load(kafka={"bootstrap_servers": self.admin, "signing_file": self.folder / "signing.json"})


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuardedStack]:
    folder = tmp_path_factory.mktemp("guarded")
    (by_password,) = free_ports(1)
    listeners = f"PLAINTEXT://127.0.0.1:{{port}},PASSWORD://127.0.0.1:{by_password}"
    users = " ".join(f'user_braid-{role}="{PASSWORD}"' for role in ROLES)
    properties = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{{controller}}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PASSWORD:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.password.plain.sasl.jaas.config": f"{LOGIN} {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    broker, redis = LocalKafka(folder, properties), LocalRedis(folder)
    await asyncio.gather(broker.start(), redis.start())
    stack = GuardedStack(broker.bootstrap_servers, f"127.0.0.1:{by_password}", redis.url, folder)
    await apply_rules(stack)
    yield stack
    await asyncio.gather(broker.child.stop(), redis.child.stop())


async def apply_rules(stack: GuardedStack) -> None:
    """Do what the printed lines say, as Kafka's and Redis's own tools do."""
    code, lines = await stack.run_braid("operator", "topics", "acl")
    assert code == 0, lines
    async with clients.admin(stack.admin) as admin:
        for line in lines.splitlines():
            tool, *words = shlex.split(line) if line.startswith("kafka-acls.sh") else ("",)
            if not tool:
                continue
            (principal,) = [words[n + 1] for n, word in enumerate(words) if word == "--allow-principal"]
            operations = [words[n + 1] for n, word in enumerate(words) if word == "--operation"]
            resources = [(RESOURCES[word], words[n + 1]) for n, word in enumerate(words) if word in RESOURCES]
            for kind, name in resources:
                for operation in operations:
                    request = CreateAclsRequest(kind, name, LITERAL, principal, "*", OPERATIONS[operation], ALLOW)
                    answer = await admin._send_to_controller(request)
                    assert not [code for code, _ in answer.creation_responses if code], answer
    code, lines = await stack.run_braid("operator", "topics", "acl", "--format", "redis")
    assert code == 0, lines
    async with Redis.from_url(stack.redis_url) as client:
        for line in lines.splitlines():
            if line.startswith("user "):
                _, name, on, _, *rules = line.split()
                # No function of the client takes rules as they are printed.
                await client.execute_command("ACL", "SETUSER", name, on, f">{PASSWORD}", *rules)  # type: ignore[no-untyped-call]


async def test_each_service_works_with_its_own_rights_and_results_reach_a_reader(
    guarded: GuardedStack, hand: bytes
) -> None:
    code, printed = await guarded.run_braid("operator", "topics", "apply")
    assert code == 0, printed
    code, printed = await guarded.run_braid("operator", "topics", "check")
    assert code == 0, printed
    services = [
        ServiceProcess("aligner", guarded.folder, guarded.environment("aligner")),
        ServiceProcess("fusion", guarded.folder, guarded.environment("fusion")),
    ]
    (port,) = free_ports(1)
    gateway_environment = guarded.environment("gateway") | {"BRAID_GATEWAY__PORT": str(port)}
    services.append(ServiceProcess("gateway", guarded.folder, gateway_environment))
    try:
        for service in services:
            service.start()
        for service in services:
            await service.wait_until_ready()
        device = guarded.settings().model_copy(update={"kafka": guarded.kafka("device")})
        await session.play_session(device, "guarded", hand, kafka=device.kafka)
        predictions = await session.wait_for_predictions(guarded.settings(), "guarded")
        assert {m["state"] for p in predictions for m in p["modalities"].values()} >= {"present"}
        assert all(service.read_metric("braid_redis_errors_total") == 0 for service in services[:2])

        async def on_page() -> bool:
            return "guarded" in (await asyncio.to_thread(page_sessions, port))

        await wait_until(on_page, "the session on the page")
        code, printed = await guarded.run_braid("operator", "mute", "guarded", "video")
        assert code == 0, printed
        code, printed = await guarded.run_braid("operator", "forget", "guarded", "--json")
        assert code == 0, printed
        assert json.loads(printed)["payload_keys_erased"] > 0, "Redis has them, and the operator may erase them"
    finally:
        for service in services:
            assert await service.child.stop() == 0, service.child.log_tail()


async def test_each_role_writes_and_reads_exactly_the_topics_of_the_table(guarded: GuardedStack) -> None:
    async with clients.admin(guarded.admin) as admin:
        await topic_admin.create_missing_topics(admin, guarded.settings())
    names = [topic.name for topic in Topics().definitions()]
    async with clients.producer(guarded.admin) as producer:
        for name in names:
            await producer.send_and_wait(name, b"of nobody", key=b"nobody", partition=0)
    rights = await asyncio.gather(*(rights_of(guarded.kafka(role), names) for role in ROLES))
    table = Topics().definitions()
    for role, (written, read) in zip(ROLES, rights, strict=True):
        assert written == {topic.name for topic in table if role in topic.writers}, role
        assert read == {topic.name for topic in table if role in topic.readers}, role


async def rights_of(kafka: KafkaSettings, names: list[str]) -> tuple[set[str], set[str]]:
    """Return the topics that a user can write and those that it can read."""
    written, read = set(), set()
    # An idempotent one cannot start for users that may write nothing.
    producer = clients.make_producer(kafka, idempotent=False)
    await producer.start()
    async with clients.reader(kafka) as reader:
        # A client waits for the partitions of a topic that it cannot see.
        visible = await reader.topics()
    for name in names:
        with suppress(TopicAuthorizationFailedError):
            await producer.send_and_wait(name, b"of nobody", key=b"nobody", partition=0)
            written.add(name)
        if name not in visible:
            continue
        # A reader of its own for each topic: one that failed may raise the same error again for the next topic.
        async with clients.reader(kafka) as reader:
            reader.assign([TopicPartition(name, 0)])
            reader.seek(TopicPartition(name, 0), 0)
            with suppress(TopicAuthorizationFailedError):
                await asyncio.wait_for(reader.getone(), DEADLINE_S)
                read.add(name)
    await producer.stop()
    return written, read


async def test_a_redis_user_reaches_only_payloads_and_cannot_change_the_server(guarded: GuardedStack) -> None:
    for role in ("aligner", "fusion", "gateway", "operator"):
        async with Redis.from_url(guarded.redis_url, username=f"braid-{role}", password=PASSWORD) as client:
            assert await client.ping()
            for command in (("FLUSHALL",), ("CONFIG", "SET", "maxmemory", "1"), ("GET", "of:others"), ("KEYS", "*")):
                with pytest.raises(NoPermissionError):
                    await client.execute_command(*command)  # type: ignore[no-untyped-call]
    async with Redis.from_url(guarded.redis_url, username="braid-fusion", password=PASSWORD) as client:
        with pytest.raises(NoPermissionError):
            await client.hset("braid:{x}:1", "video:0:0", "forged")


def page_sessions(port: int) -> str:
    """Return the sessions that the page lists."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/sessions", timeout=DEADLINE_S) as response:
        body: str = response.read().decode()
        return body
