"""Run the demo: play recorded streams through the local stack, then audit and score the results."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoint import load as load_model
from services.fusion.event_detector import EventDetector
from services.fusion.inference import Inference
from services.inspection.audit.collect import collect_logs, collect_topic
from services.inspection.audit.ledger import build_ledger
from services.inspection.audit.recompute_predictions import recompute_predictions
from services.kafka import clients, topic_admin
from services.kafka.follower import TopicFollower
from services.local.demo.report import TEXT_IDLE_TIMEOUT_MS, StreamTruths, summarize
from services.local.demo.screen import Screen
from services.local.demo.watch import OutputWatcher
from services.local.ports import free_ports
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.offline.evaluation.dataset import RecordedStream, read_stream
from services.offline.evaluation.kafka_player import PlaybackSchedule, Played, play_streams
from services.runtime.net import access_token, page_url
from services.runtime.settings import Settings

LEAD_S = 1.0
SETTLE_S = 25.0
QUIET_S = 1.0
HISTORY_S = 3_600


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to play: which streams, from which second, for how long, how fast, and which service to kill.

    With `stay` everything runs until the task is cancelled.
    """

    from_s: float
    seconds: float
    speed: float
    streams: Sequence[str]
    kill: str | None
    data: Path
    stay: bool = False


async def run_demo(
    options: DemoOptions, settings: Settings, folder: Path, screen: Screen, show: Callable[[dict[str, Any]], None]
) -> None:
    """Run the demo and call `show` with the summary. Raises StartError and KafkaError."""
    began = time.monotonic()
    run_id = secrets.token_hex(3)
    sessions = {f"{stream}-{run_id}": stream for stream in options.streams}
    screen.note("starting the stack and the services")
    async with LocalStack(folder, settings) as stack:
        idle_timeout_ms = max(round(TEXT_IDLE_TIMEOUT_MS / options.speed), 1)
        environment = {
            **stack.environment(),
            "BRAID_ALIGNMENT__MODALITIES__TEXT__IDLE_TIMEOUT_MS": str(idle_timeout_ms),
            "BRAID_KAFKA__GROUP_PREFIX": f"demo-{run_id}" if settings.kafka.bootstrap_servers else "braid",
        }
        (port,), token = free_ports(1), access_token(settings.gateway)
        page = page_url(settings.gateway.host, port, token)
        # Records of earlier runs on the same broker are not shown.
        environment |= {"BRAID_GATEWAY__PORT": str(port), "BRAID_GATEWAY__LOOK_BACK_S": "0"}
        environment |= {"BRAID_GATEWAY__TOKEN": token, "BRAID_GATEWAY__HISTORY_S": str(HISTORY_S)}
        services = {name: ServiceProcess(name, folder, environment) for name in ("aligner", "fusion", "gateway")}
        await _create_topics(stack)
        try:
            for service in services.values():
                service.start()
            recordings = await asyncio.to_thread(_read_recordings, options, sessions)
            await asyncio.gather(*(service.wait_until_ready() for service in services.values()))
            screen.note(f"ready after {time.monotonic() - began:.1f} s")
            screen.note(f"watch it on the live page: {page}")
            playback = await _play(options, stack, settings, recordings, services, screen)
            codes = {} if options.stay else await _stop(services)
            screen.note("auditing: the fate of every chunk, every window, every prediction")
            summary = await _judge(options, stack, settings, sessions, playback)
            summary |= {"exit_codes": codes, "text_idle_timeout_ms": idle_timeout_ms}
            summary["seconds"] = round(time.monotonic() - began, 1)
            summary["ok"] = not summary["troubles"] and summary["books_balance"] and not summary["windows_wrong"]
            show(summary)
            if options.stay:
                screen.note(f"everything stays up until Ctrl-C; the live page: {page}")
                await asyncio.Event().wait()
        finally:
            for service in services.values():
                service.child.kill()


async def _stop(services: Mapping[str, ServiceProcess]) -> dict[str, int | None]:
    codes = await asyncio.gather(*(service.child.stop() for service in services.values()))
    return dict(zip(services, codes, strict=True))


@dataclass(slots=True)
class _Playback:
    schedule: PlaybackSchedule
    watcher: OutputWatcher
    played: Played
    killed: dict[str, Any] | None


async def _create_topics(stack: LocalStack) -> None:
    async with clients.admin(stack.settings().kafka) as admin:
        await topic_admin.create_missing_topics(admin, stack.settings())


def _read_recordings(options: DemoOptions, sessions: Mapping[str, str]) -> dict[str, RecordedStream]:
    return {session: read_stream(options.data, stream) for session, stream in sessions.items()}


async def _play(
    options: DemoOptions,
    stack: LocalStack,
    settings: Settings,
    recordings: Mapping[str, RecordedStream],
    services: Mapping[str, ServiceProcess],
    screen: Screen,
) -> _Playback:
    topics, count = settings.topic_names(), settings.topics.partitions
    broker = stack.settings().kafka
    from_end: dict[str, int | None] = dict.fromkeys((topics.windows, topics.predictions, topics.events))
    follower = TopicFollower(lambda: clients.make_reader(broker), from_end, count)
    async with clients.producer(broker) as producer, follower:
        watcher = OutputWatcher(follower, topics, lambda session: session in recordings)
        # A whole second, a little ahead: event times then lie on the same grid in every run.
        begins_us = (int((time.time() + LEAD_S) * 1e6) // 1_000_000 + 1) * 1_000_000
        from_us, to_us = round(options.from_s * 1e6), round((options.from_s + options.seconds) * 1e6)
        schedule = PlaybackSchedule(begins_us, from_us, to_us, options.speed)
        screen.begin(schedule, recordings)
        playing = asyncio.create_task(play_streams(producer, topics, recordings, schedule, int(time.time() * 1e6)))
        killing = asyncio.create_task(_kill(options, services, screen)) if options.kill else None
        try:
            while not playing.done() or (killing and not killing.done()):
                screen.show(await watcher.poll(), watcher.outputs)
            played = await playing
            await _wait_until_settled(watcher, services, screen)
        finally:
            for task in (playing, killing):
                if task is not None:
                    task.cancel()
            screen.end()
        return _Playback(schedule, watcher, played, await killing if killing else None)


async def _kill(options: DemoOptions, services: Mapping[str, ServiceProcess], screen: Screen) -> dict[str, Any]:
    """Kill a service in the middle, while windows are open, and start it again as a supervisor would."""
    assert options.kill is not None
    await asyncio.sleep(LEAD_S + options.seconds / options.speed / 2)
    victim, aligner = services[options.kill], services["aligner"]
    open_windows = await asyncio.to_thread(aligner.read_metric, "braid_windows_open")
    victim.child.kill()
    screen.note(f"killed the {options.kill} (kill -9) while {open_windows:.0f} windows were open; starting it again")
    began = time.monotonic()
    victim.start()
    await victim.wait_until_ready()
    return {"service": options.kill, "windows_open": int(open_windows), "back_s": round(time.monotonic() - began, 1)}


async def _wait_until_settled(watcher: OutputWatcher, services: Mapping[str, ServiceProcess], screen: Screen) -> None:
    """Wait until no window is open and every final window has its prediction."""
    deadline = time.monotonic() + SETTLE_S
    quiet_since = time.monotonic()
    while time.monotonic() < deadline:
        before = len(watcher.outputs.final_ms), len(watcher.outputs.final_windows)
        screen.show(await watcher.poll(), watcher.outputs)
        if before != (len(watcher.outputs.final_ms), len(watcher.outputs.final_windows)):
            quiet_since = time.monotonic()
        settled = watcher.outputs.settled and watcher.outputs.final_windows and time.monotonic() - quiet_since > QUIET_S
        if settled and not await asyncio.to_thread(services["aligner"].read_metric, "braid_windows_open"):
            return


async def _judge(
    options: DemoOptions, stack: LocalStack, settings: Settings, sessions: Mapping[str, str], playback: _Playback
) -> dict[str, Any]:
    topics, count = settings.topic_names(), settings.topics.partitions
    async with clients.reader(stack.settings().kafka) as reader:
        logs = await collect_logs(reader, topics, count)
        published = await collect_topic(reader, topics.predictions, count)
    ledger = build_ledger(logs, settings.alignment_config(), lambda session: session in sessions)
    inference = Inference(load_model(settings.fusion.model, settings.fusion.device), 512 * 1024 * 1024)
    recomputed = await asyncio.to_thread(recompute_predictions, ledger, logs, published, inference)
    truths, detector = StreamTruths(options.data, sessions), EventDetector.of_model(inference.model)
    summary: dict[str, Any] = {"streams": len(sessions), "chunks_sent": playback.played.chunks_sent}
    summary |= summarize(truths, playback.schedule, playback.watcher.outputs, ledger, recomputed, inference, detector)
    if ledger.admitted != playback.played.chunks_sent:
        summary["troubles"].append(
            f"{playback.played.chunks_sent} records were sent, {ledger.admitted} are in the logs"
        )
    if playback.killed is not None:
        summary["killed"] = playback.killed
        if not playback.killed["windows_open"]:
            summary["troubles"].append("the service was killed while no window was open, which proves nothing")
    return summary
