"""`braid mute`, `unmute` and `forget`: what services may use of a session; `braid reset-session` begins it anew."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from services.cli import output
from services.contract.mute_and_forget import Control
from services.contract.user_errors import BraidError
from services.runtime.settings import Settings, load

PREDICTIONS_DAYS = 7

Session = Annotated[str, typer.Argument(help="The session.")]
Modality = Annotated[str, typer.Argument(help="One modality: text, video, audio, … Default: all of them.")]


def mute(session: Session, modality: Modality = "", json: output.Json = False) -> None:
    """Stop using one input (video, audio, text) of a session: predictions, page and MQTT ignore it from now on.

    Devices may go on sending: the topics keep the media until retention, and no service shows them. Windows mark the
    modality as `muted`.
    """
    _set_muted(session, modality, json, lambda control, modalities: control.mute(modalities, _now_us()))


def unmute(session: Session, modality: Modality = "", json: output.Json = False) -> None:
    """Use a muted input of a session again, for media captured from now on."""
    _set_muted(session, modality, json, lambda control, modalities: control.unmute(modalities, _now_us()))


def forget(
    session: Annotated[str, typer.Argument(help="The session to forget, up to now.")], json: output.Json = False
) -> None:
    """Erase archived evidence, labels and cached payloads of a session, and hide its records in the topics.

    From then on no service uses or shows anything from before. Exit code 1 if the broker or Redis was not reached.
    """
    from services.storage.archive import EventArchive
    from services.storage.labels import LabelStore

    settings = load()
    archive, minutes = settings.archive, settings.topics.media_retention_min
    # The control record goes first: a gateway that archives an event meanwhile reads it and refrains.
    hidden = bool(settings.kafka.bootstrap_servers)
    payloads = asyncio.run(_hide(settings, session)) if hidden else None
    store = EventArchive(archive.folder, archive.days, archive.max_mb * 1_000_000)
    store.load()
    events, labels = store.forget(session), LabelStore(settings.labels.folder).forget(session)
    erased = {"events_erased": events, "labels_erased": labels, "payload_keys_erased": payloads, "hidden": hidden}
    if json:
        retained = {"media_and_windows_minutes": minutes, "predictions_and_events_days": PREDICTIONS_DAYS}
        output.print_json({"session": session, **erased, "topics_hold_until": retained})
    else:
        print(f"Erased the archived evidence of {events} events of {session} in {archive.folder}.")
        print(f"Erased {labels} labelled samples in {settings.labels.folder}.")
        print(
            f"Kafka keeps the data until its retention ends ({minutes} minutes for media and windows, "
            f"{PREDICTIONS_DAYS} days for predictions and events); no service shows it. Delete recordings yourself."
        )
    if not hidden:
        raise BraidError(
            "The session is not hidden.",
            "No Kafka broker is configured.",
            "Set BRAID_KAFKA__BOOTSTRAP_SERVERS and BRAID_REDIS__URL, and run this again.",
        )
    if payloads is None:
        raise BraidError(
            "The payloads in Redis were not erased.",
            "Redis does not answer.",
            "They expire within redis.ttl_s seconds; run this again to erase them at once.",
        )


def reset_session(
    session: Annotated[str, typer.Argument(help="The session to begin anew.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal.")] = False,
    json: output.Json = False,
) -> None:
    """Begin a session anew, for example when a wrong clock has made everything late that it sends.

    Its open windows are closed, and its ongoing events get no end. What it sends from now on is aligned anew, also for
    times that have had windows; these windows and their predictions have other ids than the earlier ones. Nothing is
    deleted.
    """
    from services.kafka.session_resets import reset_session as write_resets

    settings = load()
    settings.require_broker()
    bytes_max = settings.alignment_config().admission.session_bytes_max
    if not session.isprintable() or not 1 <= len(session.encode(errors="replace")) <= bytes_max:
        raise output.UsageError("That is no session id.", f"A session id has 1 to {bytes_max} bytes, all printable.")
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Close the open windows of {session} and begin it anew?", abort=True, err=True)
    reset, is_known = asyncio.run(write_resets(settings, session))
    if not is_known:
        output.note(
            f"No window and no late record of {session} was found: check the name (`braid devices` lists sessions)."
        )
    if json:
        output.print_json({"session": session, "generation": reset.generation, "known": is_known})
    else:
        print(f"{session} begins anew: its windows and predictions have ~{reset.generation} in their ids from now on.")


async def _hide(settings: Settings, session: str) -> int | None:
    """Publish the control record and delete the payloads; return the number of keys, None without Redis."""
    from services.storage.payload_cache import PayloadCache

    await _change(settings, session, lambda control: control.forget(_now_us()))
    if not settings.redis.url:
        return None
    redis = PayloadCache.from_settings(settings.redis)
    try:
        return await redis.forget(session)
    finally:
        await redis.close()


def _set_muted(session: str, modality: str, json: bool, change: Callable[[Control, list[str]], Control]) -> None:
    settings = load()
    settings.require_broker()
    modalities = list(settings.alignment.modalities)
    if modality and modality not in modalities:
        raise output.UsageError(f"There is no modality {modality}.", f"There are {', '.join(modalities)}.")
    chosen = [modality] if modality else modalities
    control = asyncio.run(_change(settings, session, lambda control: change(control, chosen)))
    muted = sorted(control.muted_since_us)
    if json:
        output.print_json({"session": control.session, "muted": muted})
    else:
        print(f"{control.session}: {', '.join(muted)} muted" if muted else f"{control.session}: nothing is muted")


async def _change(settings: Settings, session: str, change: Callable[[Control], Control]) -> Control:
    """Update the control record of a session; on return the broker has it."""
    from services.kafka import clients
    from services.kafka.control_topic import update_control

    broker, count = settings.kafka, settings.topics.partitions
    async with clients.reader(broker) as reader, clients.producer(broker) as producer:
        return await update_control(reader, producer, settings.topic_names(), count, session, change)


def _now_us() -> int:
    return time.time_ns() // 1000
