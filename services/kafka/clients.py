"""Kafka clients with the options that the delivery guarantees need."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import ConsumerRecord, OffsetAndTimestamp, RecordMetadata

from services.contract.dead_letter import Reason
from services.contract.kafka_record import Headers
from services.contract.partitioner import partition_of
from services.contract.signature import Signer, is_signed_topic
from services.contract.topics import RECORD_BYTES_MAX
from services.contract.user_errors import EXIT_USAGE, BraidError
from services.kafka import batch_decoding, long_poll
from services.kafka.assignor import make_assignor
from services.kafka.skipped_records import SkippedRecords
from services.runtime.broker_clock import BROKER_CLOCK
from services.runtime.settings import KafkaSettings

_log = logging.getLogger(__name__)

# aiokafka's own limit, 40 s, is long for a person who waits.
CONNECT_TIMEOUT_S = 10
# A static member keeps its partitions for kafka.session_timeout_ms while it is away: a restart is faster, and so is a
# pause of the process. Another member can take over from one without a stable name sooner.
SESSION_MS = 10_000
STOP_WITHIN_S = 10
FETCH_BYTES_MAX = 16 * 1024 * 1024
# Options of a reader of a few records here and there: it fetches little of what lies behind them (a record larger than
# that comes nevertheless, alone). What it fetched and did not use up stays in memory until the heap is searched for
# cycles: aiokafka's records and their iterator hold each other.
LOOKUP: dict[str, Any] = {"max_partition_fetch_bytes": 128 * 1024}
# Option of a reader that follows topics for a home, which notices no quarter of a second.
FOLLOW: dict[str, Any] = {"linger_ms": 250}
# Option of a reader that also sees records of transactions that are open or were aborted, and the true ends of logs.
EVERY_RECORD: dict[str, Any] = {"isolation_level": "read_uncommitted"}
# How soon a group notices that a topic was deleted, or created again, or has more partitions.
METADATA_AGE_MS = 10_000
# One batch of a partition goes out at a time; 16 KB, the default, is three window records and a round trip for them.
BATCH_BYTES_MAX = 1024 * 1024

batch_decoding.install()
long_poll.install()
# The settings, or only bootstrap servers, which then means no TLS and no authentication.
BrokerAddress = str | KafkaSettings


class CertificateError(BraidError):
    """A certificate or key file that cannot be used."""

    exit_code = EXIT_USAGE


def connection_options(where: BrokerAddress) -> dict[str, Any]:
    """Return the connection options of every client. Raises CertificateError."""
    if isinstance(where, str):
        return {"bootstrap_servers": where}
    options: dict[str, Any] = {
        "bootstrap_servers": where.bootstrap_servers,
        "security_protocol": where.security_protocol,
    }
    if where.security_protocol.endswith("SSL"):
        options["ssl_context"] = _tls_context(where)
    if where.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": where.sasl_mechanism,
            "sasl_plain_username": where.sasl_username,
            "sasl_plain_password": where.sasl_password.get_secret_value(),
        }
    return options


def _tls_context(where: KafkaSettings) -> ssl.SSLContext:
    """Create a TLS context that checks the broker's certificate and host name, with our certificate if one is set."""
    try:
        context = ssl.create_default_context(cafile=where.ca_file)
        if where.cert_file is not None:
            context.load_cert_chain(where.cert_file, where.key_file, where.key_password.get_secret_value() or None)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateError(
            "The files of kafka.ca_file, kafka.cert_file and kafka.key_file cannot be used.",
            f"{error.strerror or error}.",
        ) from error
    return context


def signer_of(where: BrokerAddress) -> Signer:
    """Return what signs and verifies the records of services; an address alone has no secret. Raises SettingsError."""
    return Signer() if isinstance(where, str) else where.signer()


async def ends_in_time(stopping: Coroutine[Any, Any, None]) -> bool:
    """Run what stops a client in a task of its own, for STOP_WITHIN_S at most; return whether it came to its end.

    aiokafka takes a cancellation that arrives in its `stop` for one of its own tasks and goes on, so that who cancelled
    waits for ever; and it lets the cancellation of its own tasks out, as if the caller were cancelled.
    """
    task = asyncio.ensure_future(stopping)
    try:
        await asyncio.wait([task], timeout=STOP_WITHIN_S)
    finally:
        ended = task.done()
        task.cancel()
    if ended and not task.cancelled():
        task.result()
    return ended and not task.cancelled()


class SigningProducer(AIOKafkaProducer):  # type: ignore[misc]
    """A producer that signs what it sends to topics that only services write."""

    def __init__(self, signer: Signer, **options: Any) -> None:
        super().__init__(**options)
        self._signer = signer

    @property
    def signs(self) -> bool:
        """Whether there is a secret to sign with."""
        return bool(self._signer.secrets)

    def sign(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> list[tuple[str, bytes]]:
        """Return the headers of a record for the partition that it goes to."""
        return self._signer.sign(topic, partition, key, value, headers) if is_signed_topic(topic) else list(headers)

    async def stop(self) -> None:
        """Flush and close. What is not acknowledged within STOP_WITHIN_S is given up, as by a crash."""
        ended = False
        try:
            ended = await ends_in_time(super().stop())
        finally:
            if not ended and self._sender is not None:
                # An idempotent producer sends again for ever, and goes on with that after its `stop` was cancelled.
                await ends_in_time(self._sender.close())
            await ends_in_time(self.client.close())

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> asyncio.Future[RecordMetadata]:
        """Send one record and return the future of its acknowledgement. Raises KafkaError."""
        if is_signed_topic(topic):
            if partition is None:
                partition = 0 if key is None else partition_of(key, len(await self.partitions_for(topic)))
            headers = self.sign(topic, partition, key, value, headers or ())
        sent: asyncio.Future[RecordMetadata] = await super().send(topic, value, key, partition, timestamp_ms, headers)
        return sent


class Consumer(long_poll.LingeringConsumer):
    """A consumer that can be cancelled while it stops."""

    async def stop(self) -> None:
        """Leave the group and close."""
        try:
            await ends_in_time(super().stop())
        finally:
            await ends_in_time(self._client.close())


class VerifyingConsumer(Consumer):
    """A consumer without a group that passes over records that cannot be read, and those that no service signed.

    `forged` counts the latter by topic.
    """

    def __init__(self, signer: Signer, **options: Any) -> None:
        super().__init__(**options)
        self._signer = signer
        self._skipped = SkippedRecords("reader")
        self.forged: Counter[str] = Counter()

    async def getmany(self, *logs: TopicPartition, **options: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Return the next records by log; logs of which none is left are missing. Raises KafkaError."""
        fetched: dict[TopicPartition, list[ConsumerRecord]] = await super().getmany(*logs, **options)
        passed = {
            tp: [record for record in self._skipped.readable(records) if self._is_trusted(record)]
            for tp, records in fetched.items()
        }
        return {tp: records for tp, records in passed.items() if records}

    async def offsets_for_times(self, timestamps: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """Return the first offset at or after a time (ms) by log; the beginning of a log in which the broker cannot search.

        The broker reads records to answer, and one batch that it cannot decode would fail the request for ever.
        """
        try:
            found: dict[TopicPartition, Any] = await super().offsets_for_times(timestamps)
            return found
        except (errors.UnknownError, errors.CorruptRecordException):
            if len(timestamps) > 1:
                by_log = [await self.offsets_for_times({tp: ms}) for tp, ms in timestamps.items()]
                return {tp: offset for one in by_log for tp, offset in one.items()}
        ((tp, ms),) = timestamps.items()
        begin = (await self.beginning_offsets([tp]))[tp]
        _log.warning(
            "the broker cannot search a log by time: it is read from its beginning",
            extra={"topic": tp.topic, "partition": tp.partition},
        )
        return {tp: OffsetAndTimestamp(begin, ms)}

    def _is_trusted(self, record: ConsumerRecord) -> bool:
        if not self._signer.secrets or not self._signer.is_forged(record):
            return True
        self.forged[record.topic] += 1
        self._skipped.skip(record, Reason.FORGED.value, "no service signed it for this place")
        return False


def isolation_level(where: BrokerAddress) -> str:
    """Return which records consumers see: by default none of transactions that were aborted or are open."""
    return "read_committed" if isinstance(where, str) else where.isolation_level


def readable_end(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Return the end of what a consumer may read, as of its last fetch; None if it has not fetched yet.

    A consumer of committed records reads up to the last stable offset, where the oldest open transaction begins.
    """
    stable: int | None = consumer.last_stable_offset(tp)
    end: int | None = consumer.highwater(tp)
    return end if stable is None or stable < 0 else stable


def make_producer(
    where: BrokerAddress,
    *,
    linger_ms: int = 2,
    idempotent: bool = True,
    partitions: int | None = None,
    compression: str = "none",
) -> SigningProducer:
    """Create a producer with acks=all: an acknowledged record is durable.

    An idempotent one makes no copies when it sends again. It does so for ever, and after a record that it had to give up
    (a partition without a leader) it fails for good: it is for work that can be read again with a new producer.

    partitions: Among how many partitions keys are divided. Senders of media take those that services read
    (topics.partitions), also after some were added to a topic; None takes all that the topic has.
    """

    def partition_read(key: bytes | None, existing: Sequence[int], available: Sequence[int]) -> int:
        return partition_of(key or b"", partitions or len(existing))

    return SigningProducer(
        signer_of(where),
        **connection_options(where),
        **({"partitioner": partition_read} if partitions else {}),
        acks="all",
        enable_idempotence=idempotent,
        compression_type=None if compression == "none" else compression,
        linger_ms=linger_ms,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=RECORD_BYTES_MAX,
        request_timeout_ms=20_000,
    )


async def send_all(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]],
) -> list[int]:
    """Send records (key, value, headers) to one partition in order and return the append time of each, in ms.

    On return all are acknowledged; raises KafkaError otherwise. It fills whole batches because the producer's own
    `send` costs more than everything else that is done for a record.
    """
    sent: list[tuple[int, asyncio.Future[RecordMetadata]]] = []
    at, sent_us = 0, time.time_ns() // 1000
    while at < len(records):
        # A full batch rejects a record, but never its first one.
        batch, begin = producer.create_batch(), at
        while at < len(records):
            key, value, headers = records[at]
            if isinstance(producer, SigningProducer):
                headers = producer.sign(topic, partition, key, value, headers)
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                break
            at += 1
        sent.append((at - begin, await producer.send_batch(batch, topic, partition=partition)))
    answers = await asyncio.gather(*[answer for _, answer in sent])
    for answer in answers[-1:]:
        BROKER_CLOCK.observe(sent_us, time.time_ns() // 1000, answer.timestamp)
    return [answer.timestamp for (count, _), answer in zip(sent, answers, strict=True) for _ in range(count)]


def make_group_consumer(where: BrokerAddress, group: str, instance: str, partitions: int) -> AIOKafkaConsumer:
    """Create a group consumer that never commits by itself and never moves its position by itself.

    instance: a stable name (empty for none) makes the member static, so that a restart needs no session time-out.
    partitions: how many partitions of each topic are read; those of equal numbers go to one member.
    """
    return Consumer(
        **connection_options(where),
        linger_ms=0 if isinstance(where, str) else where.linger_ms,
        group_id=group,
        group_instance_id=instance or None,
        enable_auto_commit=False,
        # The consumer loop moves it, because what is skipped then must be counted.
        auto_offset_reset="none",
        isolation_level=isolation_level(where),
        metadata_max_age_ms=METADATA_AGE_MS,
        partition_assignment_strategy=(make_assignor(partitions),),
        session_timeout_ms=where.session_timeout_ms if instance and not isinstance(where, str) else SESSION_MS,
        heartbeat_interval_ms=1_000,
        rebalance_timeout_ms=60_000,
        max_poll_interval_ms=7 * 86_400_000,
        fetch_max_bytes=FETCH_BYTES_MAX,
        max_partition_fetch_bytes=RECORD_BYTES_MAX,
    )


def make_committing_reader(where: BrokerAddress, group: str) -> AIOKafkaConsumer:
    """Create a consumer of every record, also forged ones, that commits for its group but is assigned by hand."""
    return Consumer(
        **connection_options(where),
        group_id=group,
        linger_ms=2_000,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation_level(where),
        max_partition_fetch_bytes=256 * 1024,
    )


def make_reader(where: BrokerAddress, *, with_forged: bool = False, **options: Any) -> AIOKafkaConsumer:
    """Create a consumer without a group, for reading at chosen offsets.

    with_forged: Return also records that no service signed: what acts on records must leave this off.
    """
    return VerifyingConsumer(
        Signer() if with_forged else signer_of(where),
        **connection_options(where),
        enable_auto_commit=False,
        fetch_max_bytes=FETCH_BYTES_MAX,
        isolation_level=options.pop("isolation_level", isolation_level(where)),
        **{"auto_offset_reset": "earliest", "max_partition_fetch_bytes": RECORD_BYTES_MAX, **options},
    )


async def start(client: AIOKafkaAdminClient | AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Start a client. Raises KafkaConnectionError if the broker does not answer within CONNECT_TIMEOUT_S."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await client.start()
    except TimeoutError:
        raise KafkaConnectionError(f"there is no answer within {CONNECT_TIMEOUT_S} s") from None


@asynccontextmanager
async def admin(where: BrokerAddress) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client and close it at the end."""
    client = AIOKafkaAdminClient(**connection_options(where), request_timeout_ms=20_000)
    try:
        await start(client)
        yield client
    finally:
        await ends_in_time(client.close())


@asynccontextmanager
async def reader(where: BrokerAddress, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer without a group and stop it at the end."""
    client = make_reader(where, **options)
    try:
        await start(client)
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def producer(where: BrokerAddress, partitions: int | None = None) -> AsyncIterator[SigningProducer]:
    """Open a producer (see make_producer); at the end, flush and stop it."""
    client = make_producer(where, partitions=partitions)
    await start(client)
    try:
        yield client
    finally:
        await client.stop()
