"""`braid tail`."""

from __future__ import annotations

import asyncio
import json as json_lines
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import Settings, load


def tail(
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    beginning: Annotated[bool, typer.Option("--beginning", help="All that is kept, not only what comes.")] = False,
    count: Annotated[int, typer.Option(help="End after so many lines; 0: go on.", min=0)] = 0,
    json: output.Json = False,
) -> None:
    """Predictions and events as they come: first and final answers, what each sense contributed, where time went.

    What was forgotten and media of muted senses are not shown.
    """
    settings = load()
    if not settings.kafka.bootstrap_servers:
        output.no_broker()
    try:
        asyncio.run(_tail(settings, session, beginning, count, json))
    except KeyboardInterrupt:
        sys.exit(0)


async def _tail(settings: Settings, session: str | None, beginning: bool, count: int, as_json: bool) -> None:
    from services.contract.control import is_hidden
    from services.kafka import clients
    from services.kafka.control_topic import ControlTopic
    from services.kafka.follower import TopicFollower

    topics, told = settings.topic_names(), 0
    since_ms = dict.fromkeys((topics.predictions, topics.events), 0 if beginning else None)
    follower = TopicFollower(lambda: clients.make_reader(settings.kafka), since_ms, settings.topics.partitions)
    async with ControlTopic.from_settings(settings) as controls, follower:
        while not count or told < count:
            fetched = await follower.poll(timeout_ms=500)
            controls.raise_if_failed()
            for tp, records in fetched.items():
                for r in records:
                    if r.value is None or (session is not None and r.key != session.encode()):
                        continue
                    if is_hidden(controls.for_session, topics, tp.topic, r.key, r.headers, r.value, r.timestamp * 1000):
                        continue
                    line = told_of(r.value, dict(r.headers), tp.topic == topics.events, as_json)
                    if line is None:
                        print(f"braid: {tp.topic} {tp.partition}/{r.offset} is no record of ours", file=sys.stderr)
                        continue
                    print(line, flush=True)
                    told += 1
                    if count and told >= count:
                        return


def told_of(value: bytes, headers: Mapping[str, bytes], is_event: bool, as_json: bool) -> str | None:
    """An event or a prediction as a line, None for what is neither."""
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
        return json_lines.dumps(record) if as_json else _event(record) if is_event else _line(record)
    except (canonical.InvalidJson, KeyError, TypeError, ValueError, AttributeError):
        return None


def _event(e: dict[str, Any]) -> str:
    return f"EVENT  {e['session']}  {e['lifecycle']} {e['kind']} {e['label']} {e['confidence']:.2f}" + (
        "" if e["final"] else "  (first answer)"
    )


def _line(p: dict[str, Any]) -> str:
    senses = "  ".join(f"{name} {s['state']} {s['contribution']:+.2f}" for name, s in p["modalities"].items())
    took = f"  {p['latency']['total_ms']:.0f} ms" if "latency" in p else ""
    kind = "final" if p["final"] else "first"
    return f"{kind}  {p['session']}  {p['label']} {p['confidence']:.2f}  {senses}{took}"
