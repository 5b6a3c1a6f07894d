"""`braid audit`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import Settings, load


def audit(
    session: Annotated[list[str] | None, typer.Option(help="Only these sessions; default: all.")] = None,
    json: output.Json = False,
) -> None:
    """Read the topics again: does every chunk have one fate, and is every window what the logs say?

    1 where not; 3 where records have been deleted already, for then the logs do not tell the whole story.
    """
    settings = load()
    if not settings.kafka.bootstrap_servers:
        output.no_broker()
    out, deleted = asyncio.run(_audit(settings, session))
    if json:
        output.result(out)
    else:
        books = out["books"]
        print(", ".join(f"{books[name]} {name}" for name in books))
        print(f"{out['windows']} final windows, {out['windows_wrong']} differ from what the logs say")
        for trouble in out["troubles"]:
            print(f"  {trouble}")
    if deleted:
        output.fail(f"{deleted} media records have been deleted by retention: only a recording can be audited whole", 3)
    sys.exit(0 if out["ok"] else 1)


async def _audit(settings: Settings, sessions: list[str] | None) -> tuple[dict[str, Any], int]:
    from aiokafka import TopicPartition

    from services.inspection.audit.collect import collect_logs
    from services.inspection.audit.ledger import build_ledger, count_configs
    from services.kafka import clients

    topics, count = settings.topic_names(), settings.topics.partitions
    async with clients.reader(settings.kafka) as reader:
        media = [TopicPartition(topic, n) for topic in topics.media_all for n in range(count)]
        deleted = sum((await reader.beginning_offsets(media)).values())
        logs = await collect_logs(reader, topics, count)
    ours, made = settings.alignment_config(), count_configs(logs)
    if made.keys() - {ours.digest}:
        told = ", ".join(f"{n} under {config}" for config, n in sorted(made.items()))
        output.fail(
            f"the topics hold windows made under other settings than those in force ({told}; ours are {ours.digest}): the "
            "books are kept under one set of settings. Audit with the settings of then, or once retention has taken "
            "what was made before the change",
            3,
        )
    books = build_ledger(logs, ours, lambda s: sessions is None or s in sessions)
    ok = books.balanced and not books.windows_wrong and not books.troubles
    out = {
        "ok": ok,
        "books": books.as_json(),
        "by_modality": {m: dict(fates) for m, fates in books.by_modality.items()},
        "windows": len(books.windows),
        "windows_wrong": books.windows_wrong,
        "windows_repeated": books.copies,
        "troubles": books.troubles[:50],
    }
    return out, deleted
