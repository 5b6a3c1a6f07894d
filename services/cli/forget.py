"""`braid forget`."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from services.cli import output
from services.runtime.settings import Settings, load

PREDICTIONS_DAYS = 7


def forget(
    session: Annotated[str, typer.Argument(help="The session of which everything up to now goes.")],
    json: output.Json = False,
) -> None:
    """Erase what is kept of a session: evidence, labels, payloads in Redis; hide what the topics hold until retention.

    From then on no service of ours uses or shows anything of before. 1 where the services could not be told.
    """
    from services.storage.archive import EventArchive
    from services.storage.labels import LabelStore

    settings = load()
    keep, minutes = settings.archive, settings.topics.media_retention_min
    # First the word, then the deed: a gateway that keeps an event meanwhile knows that it must not.
    hidden = bool(settings.kafka.bootstrap_servers)
    payloads = asyncio.run(_hide(settings, session)) if hidden else None
    store = EventArchive(keep.folder, keep.days, keep.max_mb * 1_000_000)
    try:
        store.load()
        events, labels = store.forget(session), LabelStore(settings.labels.folder).forget(session)
    except OSError as error:
        output.fail(f"{error.filename or keep.folder} cannot be changed: {error.strerror}")
    left = {"media_and_windows_minutes": minutes, "predictions_and_events_days": PREDICTIONS_DAYS}
    told = {"events_erased": events, "labels_erased": labels, "payload_keys_erased": payloads, "hidden": hidden}
    if json:
        output.result({"session": session, **told, "topics_hold_until": left})
    else:
        print(f"erased the evidence of {events} events of {session} in {keep.folder}")
        print(f"erased {labels} labelled samples in {settings.labels.folder}")
        print(
            f"the topics still hold what they have of it, hidden by every service: media and windows for {minutes} "
            f"minutes, predictions and events for {PREDICTIONS_DAYS} days after they came; recordings are yours to delete"
        )
    if not hidden:
        output.fail("no broker is named: the services were not told, and Redis was not asked")
    if payloads is None:
        output.fail("Redis does not answer: what it holds of the session goes within redis.ttl_s seconds")


async def _hide(settings: Settings, session: str) -> int | None:
    """Tell all services, and destroy the payloads in Redis: how many keys, None where it does not answer."""
    from services.cli.mute import said
    from services.storage.payload_cache import PayloadCache

    await said(settings, session, lambda control: control.forget(time.time_ns() // 1000))
    if not settings.redis.url:
        return None
    redis = PayloadCache.from_settings(settings.redis)
    try:
        return await redis.forget(session)
    finally:
        await redis.close()
