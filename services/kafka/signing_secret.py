"""The secret that signs records: made with the topics, and needed by every process that writes to signed topics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from services.contract.signature import is_signed
from services.contract.user_errors import EXIT_USAGE, BraidError
from services.kafka import clients
from services.kafka.log_reader import read_range
from services.runtime.settings import Settings
from services.runtime.settings.signing_file import create_signing_file

CHECK_WITHIN_S = 10
_log = logging.getLogger(__name__)


class MissingSecretError(BraidError):
    """A process without a secret on topics with signed records: nobody would accept what it writes."""

    exit_code = EXIT_USAGE


def make_secret(settings: Settings, existing_topics: Collection[str], rolling_s: int = 0) -> None:
    """Make the file with the signing secret, unless there is a secret.

    Args:
        settings: The settings.
        existing_topics: Topics of the broker. If ours are among them, what they hold needs no signature.
        rolling_s: How long services that have no secret yet may go on writing to them, in seconds.
    """
    path = settings.kafka.signing_file
    if settings.kafka.signer().secrets:
        return
    topics = settings.topic_names()
    is_upgrade = topics.frontier in existing_topics or topics.windows in existing_topics
    try:
        create_signing_file(path, int((time.time() + rolling_s) * 1_000_000) if is_upgrade else 0)
    except OSError as error:
        _log.warning(
            "%s cannot be written (%s): without a secret, records are not signed, and devices that may write to the topics "
            "of services can forge them. Set BRAID_KAFKA__SIGNING_SECRETS on all services.",
            path,
            error.strerror,
        )


async def check_secret(settings: Settings) -> None:
    """Check that this process has a secret if the topics hold signed records.

    Raises:
        MissingSecretError: It has none.
        KafkaError: The topics cannot be read.
    """
    if settings.kafka.signer().secrets:
        return
    try:
        async with asyncio.timeout(CHECK_WITHIN_S):
            await _check_topics_are_unsigned(settings)
    except TimeoutError:
        raise KafkaTimeoutError(f"the topics cannot be read within {CHECK_WITHIN_S} s") from None


async def _check_topics_are_unsigned(settings: Settings) -> None:
    frontier = settings.topic_names().frontier
    async with clients.admin(settings.kafka) as admin:
        # Where access rules are in force, only the aligner sees this topic.
        (described,) = await admin.describe_topics([frontier])
    # Only partitions that exist: a reader waits for the others.
    numbers = [] if described["error_code"] else [partition["partition"] for partition in described["partitions"]]
    async with clients.reader(settings.kafka) as reader:
        for number in numbers:
            await require_unsigned(reader, TopicPartition(frontier, number))
    _log.warning("No signing secret is set: records are neither signed nor verified. `braid topics apply` makes one.")


async def require_unsigned(reader: AIOKafkaConsumer, log: TopicPartition) -> None:
    """Raise MissingSecretError if a log holds a signed record. Raises KafkaError."""
    async for record in read_range(reader, log):
        if is_signed(record.headers):
            raise MissingSecretError(
                "The topics hold signed records, and this process has no signing secret.",
                "kafka.signing_secrets is empty and there is no file kafka.signing_file.",
                "Set BRAID_KAFKA__SIGNING_FILE to the file that `braid topics apply` or `braid up` made (signing.json in "
                "its folder .braid), or BRAID_KAFKA__SIGNING_SECRETS to the secrets of the other services.",
            )
