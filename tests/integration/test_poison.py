"""Poison in every topic of a real broker: no process ends, the session beside it is predicted, each record has its reason."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest

from services.contract import cloudevents
from services.contract.dead_letter import Reason, Rejected, make_dead_letter
from services.contract.kafka_record import RecordPosition
from services.contract.partitioner import partition_of
from services.inspection.audit.collect import collect_topic
from services.integrations.mqtt.topics import MqttTopics
from services.kafka import clients, dead_letters
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings
from tests.integration.gateway import Gateway
from tests.integration.mosquitto import Mosquitto, subscribe
from tests.integration.session import play_session, read_topic, wait_for_predictions
from tests.integration.shared_broker import SharedBroker
from tests.unit.kafka.record_batches import GZIP, LZ4, SNAPPY, ZSTD, encode_batch, encode_bomb, encode_record
from tests.waiting import DEADLINE_S, wait_until

SESSION = "beside poison"
KEY = SESSION.encode()
BRAID = str(Path(sys.executable).parent / "braid")
# A bomb of any codec takes far less than this of the memory that a process has; snappy needs 3 MB for 60.
MEGABYTES = {GZIP: 200, SNAPPY: 60, LZ4: 200, ZSTD: 500}
GROWTH_MAX_KB = 150 * 1024
MQTT_BYTES = 64 * 1024 * 1024
CONFIG_BYTES_MAX = 64 * 1024
# Sessions whose names mean something in MQTT, in paths or in JSON.
HOSTILE_SESSIONS = ("#", "+/+", "$share/group/braid", "../../etc", '"}', "\U0001f480 house", "x" * 120)
ON_DISK = b"flip this byte: !"
HEADERS = [
    (name.encode(), raw)
    for name, raw in cloudevents.build_headers(
        session=SESSION,
        source="/devices/poison",
        id="1",
        type=cloudevents.media_type("text"),
        t_us=1_000_000,
        content_type="text/plain",
    )
]


@pytest.fixture(scope="module")
async def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mosquitto]:
    server = await Mosquitto(tmp_path_factory.mktemp("mosquitto")).start()
    yield server
    await server.child.stop()


@pytest.fixture(scope="module")
async def bridge(
    stack: LocalStack, services: dict[str, ServiceProcess], mosquitto: Mosquitto
) -> AsyncIterator[ServiceProcess]:
    environment = {"BRAID_MQTT__HOST": "127.0.0.1", "BRAID_MQTT__PORT": str(mosquitto.port)}
    process = ServiceProcess("mqtt", stack.folder, stack.environment() | environment, 40)
    process.start()
    await process.wait_until_ready()
    yield process
    assert await process.child.stop() == 0, "the bridge did not end cleanly"


@pytest.fixture(scope="module")
def poison() -> dict[str, tuple[bytes, set[str]]]:
    """Batches that a broker takes, and the reasons for which media are rejected then; an empty set: any reason."""
    chance = random.Random(20)
    batches = {f"bomb {codec}": (encode_bomb(codec, KEY, size, HEADERS), {"size"}) for codec, size in MEGABYTES.items()}
    records = {
        "header name": (encode_record(KEY, b"x", [*HEADERS, (b"\xff\xfe", b"x")]), {"header"}),
        "null header": (encode_record(KEY, b"x", [*HEADERS[:-1], (b"ce_time", None)]), {"header"}),
        "big key": (encode_record(b"k" * 3_900_000, b"x", HEADERS), {"session"}),
        "big header": (encode_record(KEY, b"x", [*HEADERS, (b"x", bytes(3_900_000))]), {"header"}),
        "many headers": (encode_record(KEY, b"x", [(b"", b"")] * 100_000), {"header"}),
        "null value": (encode_record(KEY, None, HEADERS), {"null"}),
        "nothing": (encode_record(None, None), {"key"}),
    }
    for n in range(5):
        noise = [(chance.randbytes(n), chance.randbytes(50)) for _ in range(n)]
        records[f"noise {n}"] = encode_record(chance.randbytes(20 * n + 1), chance.randbytes(200), noise), set()
    return batches | {name: (encode_batch(record), reasons) for name, (record, reasons) in records.items()}


async def produce_batch(client: AIOKafkaClient, log: TopicPartition, batch: bytes) -> int | None:
    """Append a batch byte by byte as it is; return its offset, None if the broker refuses it."""
    client.add_topic(log.topic)
    await client.force_metadata_update()
    node = client.cluster.leader_for_partition(log)
    request = ProduceRequest(None, 1, 30_000, [(log.topic, [(log.partition, batch)])])
    answer = await client.send(node, request)
    ((_, ((_, error, offset, *_),)),) = answer.topics
    return None if error else int(offset)


async def pour(settings: Settings, poison: dict[str, tuple[bytes, set[str]]]) -> dict[RecordPosition, set[str]]:
    """Append every poison to every topic; return the reasons that are expected of those that become dead letters."""
    topics, number = settings.topic_names(), partition_of(KEY, settings.topics.partitions)
    own = (topics.windows, topics.predictions, topics.events, topics.control, topics.frontier, topics.late, topics.dead)
    expected: dict[RecordPosition, set[str]] = {}
    client = AIOKafkaClient(bootstrap_servers=settings.kafka.bootstrap_servers, request_timeout_ms=40_000)
    await client.bootstrap()
    try:
        for topic in (*topics.media_all, *own):
            for name, (batch, reasons) in poison.items():
                offset = await produce_batch(client, TopicPartition(topic, number), batch)
                is_compacted = topic in (topics.control, topics.frontier)
                assert offset is not None or (name == "nothing" and is_compacted), f"{name} into {topic}"
                if offset is not None and topic in topics.media_all:
                    # Only one of the media topics carries this type.
                    others = {"type"} if reasons and topic != topics.media("text") else set()
                    expected[RecordPosition(topic, number, offset)] = reasons | others
                elif offset is not None and topic == topics.windows:
                    expected[RecordPosition(topic, number, offset)] = set()
    finally:
        await client.close()
    return expected


async def corrupt_on_disk(settings: Settings, broker: SharedBroker, topic: str) -> RecordPosition:
    """Append a good record and change a byte of it in the broker's file."""
    number = partition_of(KEY, settings.topics.partitions)
    client = AIOKafkaClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    await client.bootstrap()
    offset = await produce_batch(
        client, TopicPartition(topic, number), encode_batch(encode_record(KEY, ON_DISK, HEADERS))
    )
    await client.close()
    assert offset is not None
    (segment, at), *_ = [
        (file, content.rindex(ON_DISK))
        for file in (broker.folder / "kafka" / f"{topic}-{number}").glob("*.log")
        if ON_DISK in (content := file.read_bytes())
    ]
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(b"F")
    return RecordPosition(topic, number, offset)


async def publish_hostile_messages(client: aiomqtt.Client, session: str) -> None:
    """Publish what any client of an MQTT broker may: into the topics that the bridge reads, and into its own."""
    topics, huge = MqttTopics(), bytes(MQTT_BYTES)
    switch = f"{topics.mute(session, 'text')}/set"
    for payload in (b"", b"\xff\xfe", b"on", b"ON" * 100_000, b'{"mute": 1e999}', b"[" * 60_000, huge):
        for topic in (switch, topics.birth, topics.available):
            # Retained: the bridge gets it again whenever it subscribes.
            await client.publish(topic, payload, qos=1, retain=True, timeout=DEADLINE_S)
    for level in ("", "$share", "\u202e\U0001f480", " ", "x" * 60_000, "%2B"):
        await client.publish(f"braid/sessions/{level}/mute/text/set", b"ON", qos=1, retain=True)
        await client.publish(f"braid/sessions/a/mute/{level}/set", b"ON", qos=1)
    await client.publish(topics.config(session), b'{"device": ', qos=1, retain=True)


def peak_kb(process: ServiceProcess) -> int:
    """Return the highest memory of a process so far."""
    status = Path(f"/proc/{process.child.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


async def find_letters(settings: Settings, expected: dict[RecordPosition, set[str]]) -> dict[RecordPosition, set[str]]:
    """Return the reasons of these records once all of them have a dead letter."""

    async def all_letters() -> dict[RecordPosition, set[str]] | None:
        reasons: dict[RecordPosition, set[str]] = {}
        for letter in await read_topic(settings, settings.topic_names().dead):
            if {"topic", "partition", "offset", "reason"} <= letter.keys():
                position = RecordPosition(letter["topic"], letter["partition"], letter["offset"])
                reasons.setdefault(position, set()).add(letter["reason"])
        return reasons if expected.keys() <= reasons.keys() else None

    return await wait_until(all_letters, "a dead letter of each poison")


def unexpected(found: dict[RecordPosition, set[str]], expected: dict[RecordPosition, set[str]]) -> Iterator[str]:
    for position, reasons in expected.items():
        if reasons and not found[position] <= reasons:
            yield f"{position}: {found[position]}, not {reasons}"


async def run_braid(stack: LocalStack, *words: str) -> str:
    """Run a command; it may find faults, but must not fail itself. Return its output."""
    process = await asyncio.create_subprocess_exec(
        BRAID,
        *words,
        env=os.environ | stack.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode in (0, 1), f"{words}: {err.decode()}"
    assert "Traceback" not in err.decode(), f"{words}: {err.decode()}"
    return out.decode()


async def test_poison_in_every_topic_stops_nobody_and_has_its_reason(
    stack: LocalStack,
    settings: Settings,
    services: dict[str, ServiceProcess],
    shared_broker: SharedBroker,
    poison: dict[str, tuple[bytes, set[str]]],
    mosquitto: Mosquitto,
    bridge: ServiceProcess,
    hand: bytes,
    tmp_path: Path,
) -> None:
    topics = settings.topic_names()
    gateway = await Gateway(stack, number=40).start()
    processes = [*services.values(), gateway.process, bridge]
    await play_session(settings, SESSION, hand)
    await wait_for_predictions(settings, SESSION)
    before_kb = {process.name: peak_kb(process) for process in processes}
    pids = [process.child.pid for process in processes]

    expected = await pour(settings, poison)
    await play_session(settings, SESSION, hand)
    predictions = await wait_for_predictions(settings, SESSION, count=16)
    assert {p["modalities"]["text"]["state"] for p in predictions} == {"present"}
    found = await find_letters(settings, expected)
    assert not list(unexpected(found, expected))
    response = await gateway.request("api/v1/sessions")
    assert SESSION in response.body.decode()
    assert [process.child.pid for process in processes] == pids
    assert all(process.child.running for process in processes)
    for process in processes:
        assert peak_kb(process) - before_kb[process.name] < GROWTH_MAX_KB, process.name

    # A restart reads the topics back.
    aligner = services["aligner"]
    aligner.child.kill()
    corrupt = await corrupt_on_disk(settings, shared_broker, topics.media("text"))
    expected = {corrupt: {"unreadable"}} | await pour(settings, {"bomb": poison[f"bomb {ZSTD}"]})
    await aligner.restart()
    await play_session(settings, SESSION, hand)
    await wait_for_predictions(settings, SESSION, count=24)
    found = await find_letters(settings, expected)
    assert not list(unexpected(found, expected))

    commands: list[tuple[str, ...]] = [
        ("inspect", name) for name in ("text", "windows", "predictions", "control", "dead")
    ]
    commands += [("devices",), ("audit",), ("record", str(tmp_path / "recording.mcap"))]
    outputs = await asyncio.gather(*(run_braid(stack, *words) for words in commands))
    assert SESSION in outputs[2]
    assert gateway.process.child.running
    await gateway.process.child.stop()


async def test_hostile_mqtt_messages_and_sessions_stop_nobody(
    settings: Settings,
    services: dict[str, ServiceProcess],
    mosquitto: Mosquitto,
    bridge: ServiceProcess,
    hand: bytes,
) -> None:
    prediction = MqttTopics().for_session(SESSION, "prediction")
    before_kb, pid = peak_kb(bridge), bridge.child.pid
    async with subscribe(mosquitto.port) as (listener, client):
        await play_session(settings, SESSION, hand)
        await listener.wait(prediction)
        await publish_hostile_messages(client, SESSION)
        for session in HOSTILE_SESSIONS:
            await play_session(settings, session, hand)
            await listener.wait(MqttTopics().for_session(session, "prediction"))
        # Its commands are answered, although each of the others came before.
        muted = MqttTopics().mute(SESSION, "text")
        await client.publish(f"{muted}/set", b"ON", qos=1)

        async def is_muted() -> bool | None:
            return listener.payloads_of(muted)[-1:] == [b"ON"] or None

        await wait_until(is_muted, "the switch")
        await client.publish(f"{muted}/set", b"OFF", qos=1)
        assert bridge.child.pid == pid
        assert peak_kb(bridge) - before_kb < GROWTH_MAX_KB

        bridge.child.kill()
        count = len(listener.payloads_of(prediction))
        await bridge.restart()  # it gets the retained messages
        await play_session(settings, SESSION, hand)
        await listener.wait(prediction, count + 2)
        assert peak_kb(bridge) - before_kb < GROWTH_MAX_KB
        by_bridge = [m for m in listener.messages if m.topic.value.endswith("/config") and m.payload != b'{"device": ']
        assert by_bridge
        assert all(len(bytes(m.payload)) < CONFIG_BYTES_MAX for m in by_bridge)
        assert not [m for m in listener.messages if m.topic.value.startswith(("$", "braid/sessions/$share/pred"))]


async def test_a_dead_letter_that_the_topic_refuses_goes_out_by_position(settings: Settings) -> None:
    servers, topic = settings.kafka.bootstrap_servers, f"{settings.topics.prefix}.small.v1"
    async with clients.admin(servers) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "800"})])
    rejected = Rejected(Reason.SIZE, "too large")
    letters = [
        make_dead_letter(RecordPosition("t", 0, n), "admission", rejected, b"", [("x", bytes(size))])
        for n, size in enumerate((10, 2_000, 10))
    ]
    for letter in letters:
        async with clients.producer(servers) as producer:
            await dead_letters.publish(producer, topic, 0, b"key", letter)
    async with clients.reader(servers) as reader:
        records: list[Any] = await collect_topic(reader, topic, 1)
    assert [dict(record.headers).get("x") is None for record in records] == [False, True, False]
