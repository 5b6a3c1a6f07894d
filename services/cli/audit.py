"""`braid audit`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from services.cli import output
from services.contract.user_errors import EXIT_NOT_RETAINED, BraidError
from services.runtime.settings import Settings, load


class AuditError(BraidError):
    """Topics that do not hold everything an audit needs."""

    exit_code = EXIT_NOT_RETAINED


def audit(
    session: Annotated[list[str] | None, typer.Option(help="Only this session; may be repeated. Default: all.")] = None,
    json: output.Json = False,
) -> None:
    """Read the topics again: does every chunk have one fate, and does every window follow from the logs?

    Exit code 1 if not; 3 if records were deleted by retention, because an audit needs all of them.
    """
    settings = load()
    settings.require_broker()
    result, deleted = asyncio.run(_audit(settings, session))
    if json:
        output.print_json(result)
    else:
        print(", ".join(f"{count} {fate}" for fate, count in result["books"].items()))
        print(f"{result['windows']} final windows, {result['windows_wrong']} differ from the logs")
        for problem in result["troubles"]:
            print(f"  {problem}")
    if deleted:
        raise AuditError(
            "The audit is not complete.",
            f"Retention or somebody has deleted {deleted} offsets of the media logs: at most that many records.",
            "Audit sooner after the start, or with a longer topics.media_retention_min.",
        )
    sys.exit(0 if result["ok"] else 1)


async def _audit(settings: Settings, sessions: list[str] | None) -> tuple[dict[str, Any], int]:
    """Return the result, and how many offsets of the media logs were deleted."""
    from aiokafka import TopicPartition

    from services.inspection.audit.collect import collect_logs
    from services.inspection.audit.ledger import build_ledger, count_configs
    from services.kafka import clients

    topics, count = settings.topic_names(), settings.topics.partitions
    async with clients.reader(settings.kafka) as reader:
        media = [TopicPartition(topic, n) for topic in topics.media_all for n in range(count)]
        deleted = sum((await reader.beginning_offsets(media)).values())
        logs = await collect_logs(reader, topics, count)
        forged = sum(reader.forged.values())
    if not settings.kafka.signer().secrets:
        output.note_unverified("the topics")
    if forged:
        output.note(f"{forged} records that no service signed are left out (`braid inspect` shows them)")
    alignment, windows_by_config = settings.alignment_config(), count_configs(logs)
    if windows_by_config.keys() - {alignment.digest}:
        counts = ", ".join(f"{n} under {config}" for config, n in sorted(windows_by_config.items()))
        raise AuditError(
            "The topics hold windows of several alignment settings.",
            f"They hold {counts}; the current settings are {alignment.digest}.",
            "Audit with the settings of that time, or after retention has deleted the older windows.",
        )
    ledger = build_ledger(logs, alignment, lambda s: sessions is None or s in sessions)
    result = {
        "ok": ledger.balanced and not ledger.windows_wrong and not ledger.troubles,
        "books": ledger.as_json(),
        "by_modality": {m: dict(fates) for m, fates in ledger.by_modality.items()},
        "windows": len(ledger.windows),
        "windows_wrong": ledger.windows_wrong,
        "windows_repeated": ledger.copies,
        "forged": forged,
        "troubles": ledger.troubles[:50],
    }
    return result, deleted
