"""`braid mute` and `braid unmute`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated

import typer

from services.cli import output
from services.contract.control import Control
from services.runtime.settings import Settings, load

Session = Annotated[str, typer.Argument(help="The session.")]
Modality = Annotated[
    str, typer.Argument(help="One of its senses: text, video, audio …; all of them where none is named.")
]


def mute(session: Session, modality: Modality = "", json: output.Json = False) -> None:
    """Use a sense of a session no more, from now on: not for predictions, not on the page, not in MQTT.

    What devices send still goes into the media topics, unseen, until retention. Windows say `muted` for it.
    """
    settings = load()
    senses = _senses(settings, modality)
    _tell(_said(settings, session, lambda c: c.mute(senses, _now_us())), json)


def unmute(session: Session, modality: Modality = "", json: output.Json = False) -> None:
    """Use a sense again: what is captured from now on. What was captured while it was muted stays unused."""
    settings = load()
    senses = _senses(settings, modality)
    _tell(_said(settings, session, lambda c: c.unmute(senses, _now_us())), json)


def _senses(settings: Settings, modality: str) -> list[str]:
    known = list(settings.alignment.modalities)
    if modality and modality not in known:
        output.fail(f"no such sense: there are {', '.join(known)}", 2)
    return [modality] if modality else known


def _said(settings: Settings, session: str, change: Callable[[Control], Control]) -> Control:
    if not settings.kafka.bootstrap_servers:
        output.no_broker()
    return asyncio.run(said(settings, session, change))


async def said(settings: Settings, session: str, change: Callable[[Control], Control]) -> Control:
    """Change what holds for a session; the broker has it on return. Raises KafkaError."""
    from services.kafka import clients
    from services.kafka.control_topic import update_control as tell

    broker, count = settings.kafka, settings.topics.partitions
    async with clients.reader(broker) as reader, clients.producer(broker) as producer:
        return await tell(reader, producer, settings.topic_names(), count, session, change)


def _tell(control: Control, json: bool) -> None:
    muted = sorted(control.muted_since_us)
    if json:
        output.result({"session": control.session, "muted": muted})
        return
    print(f"{control.session}: {', '.join(muted)} muted" if muted else f"{control.session}: nothing is muted")


def _now_us() -> int:
    return time.time_ns() // 1000
