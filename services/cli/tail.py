"""`braid tail`."""

from __future__ import annotations

import asyncio
import json as json_lines
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import Settings, load


def tail(
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    beginning: Annotated[
        bool, typer.Option("--beginning", help="Start with the oldest record that is retained, not with the next.")
    ] = False,
    count: Annotated[int, typer.Option(help="Stop after this many records; 0: never.", min=0)] = 0,
    json: output.Json = False,
) -> None:
    """Print predictions and events as they arrive: time, early or final, contribution of each modality, latency, id.

    The time is the end of a prediction's window, and the start of an event. `braid why` explains a prediction by its id.
    Forgotten sessions and media of muted inputs are not shown.
    """
    settings = load()
    settings.require_broker()
    try:
        asyncio.run(_tail(settings, session, beginning, count, json))
    except KeyboardInterrupt:
        sys.exit(0)


async def _tail(settings: Settings, session: str | None, beginning: bool, count: int, as_json: bool) -> None:
    from services.contract.mute_and_forget import is_hidden
    from services.kafka import clients
    from services.kafka.control_topic import ControlTopic
    from services.kafka.follower import TopicFollower
    from services.kafka.skipped_records import SkippedRecords

    topics, shown, skipped = settings.topic_names(), 0, SkippedRecords("tail")
    since_ms = dict.fromkeys((topics.predictions, topics.events), 0 if beginning else None)
    follower = TopicFollower(lambda: clients.make_reader(settings.kafka), since_ms, settings.topics.partitions)
    async with ControlTopic.from_settings(settings) as controls, follower:
        while True:
            fetched = await follower.poll(timeout_ms=500)
            controls.raise_if_failed()
            for tp, records in fetched.items():
                for r in records:
                    if r.value is None or (session is not None and r.key != session.encode()):
                        continue
                    line = None
                    with skipped.guard(r):
                        appended_us = r.timestamp * 1000
                        if is_hidden(controls.for_session, topics, tp.topic, r.key, r.headers, r.value, appended_us):
                            continue
                        line = render(r.value, dict(r.headers), tp.topic == topics.events, as_json)
                    if line is None:
                        output.note(f"{tp.topic} {tp.partition}/{r.offset} is not a record of Braid")
                        continue
                    print(line, flush=True)
                    shown += 1
                    if shown == count:
                        return


def render(value: bytes, headers: Mapping[str, bytes], is_event: bool, as_json: bool) -> str | None:
    """Return an event or a prediction as one line, None for any other record."""
    from services.contract import canonical, trace_context
    from services.contract.prediction import LATENCY_HEADER, STATE_HEADER, TRACE_HEADER

    try:
        record = canonical.loads_object(value)
        if LATENCY_HEADER in headers:
            record["latency"] = canonical.loads(headers[LATENCY_HEADER])
        if STATE_HEADER in headers:
            record["state"] = canonical.loads(headers[STATE_HEADER])
        if TRACE_HEADER in headers:
            record["trace_id"] = trace_context.trace_id_of_header(headers[TRACE_HEADER])
        if as_json:
            return json_lines.dumps(record)
        return _event_line(record) if is_event else _prediction_line(record)
    except (canonical.InvalidJson, KeyError, TypeError, ValueError, OverflowError, OSError, AttributeError):
        return None


def _event_line(event: dict[str, Any]) -> str:
    early = "" if event["final"] else "  (early)"
    label = f"{event['kind']} {event['label']} {event['confidence']:.2f}"
    return (
        f"{_clock_time(event['start'])}  EVENT  {event['session']}  {event['lifecycle']} {label}{early}  {event['id']}"
    )


def _prediction_line(prediction: dict[str, Any]) -> str:
    modalities = "  ".join(
        f"{name} {modality['state']} {modality['contribution']:+.2f}"
        for name, modality in prediction["modalities"].items()
    )
    latency = f"  {prediction['latency']['total_ms']:.0f} ms" if "latency" in prediction else ""
    label = f"{prediction['label']} {prediction['confidence']:.2f}"
    kind = "final" if prediction["final"] else "early"
    return (
        f"{_clock_time(prediction['window']['end'])}  {kind}  {prediction['session']}  {label}  {modalities}{latency}  "
        f"{prediction['id']}"
    )


def _clock_time(t_us: int) -> str:
    """Return the time of day of an event time, in the local time zone."""
    return f"{datetime.fromtimestamp(t_us / 1e6):%H:%M:%S}.{t_us // 1000 % 1000:03}"
