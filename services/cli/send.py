"""`braid send`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import output
from services.cli.send_captured import captured
from services.contract import cloudevents
from services.integrations.capture import source
from services.integrations.capture.sender import CaptureOptions
from services.integrations.capture.source import MICROPHONE, WEBCAM, CaptureSource
from services.runtime.devices import DeviceDirectory
from services.runtime.settings import ROOT, Settings, load

TYPES = {
    ".jpg": ("video", "image/jpeg"),
    ".jpeg": ("video", "image/jpeg"),
    ".png": ("video", "image/png"),
    ".webp": ("video", "image/webp"),
    ".wav": ("audio", "audio/wav"),
    ".flac": ("audio", "audio/flac"),
    ".ogg": ("audio", "audio/ogg"),
    ".txt": ("text", "text/plain; charset=utf-8"),
}
FILES_MAX = 10_000
STREAM_S = 120.0
WHAT = "Cameras (rtsp:// http://), videos, files (jpg png webp wav flac ogg txt), folders, or streams S01-S08."


def send(
    what: Annotated[list[str] | None, typer.Argument(help=WHAT)] = None,
    session: Annotated[
        str, typer.Option(help="The session: what belongs together, as a room. Not needed where devices names one.")
    ] = "",
    webcam: Annotated[bool, typer.Option("--webcam", help="This machine's camera.")] = False,
    microphone: Annotated[bool, typer.Option("--microphone", help="This machine's microphone.")] = False,
    webcam_device: Annotated[str, typer.Option(help="Which camera.")] = WEBCAM,
    microphone_device: Annotated[str, typer.Option(help="Which microphone, as ALSA calls it.")] = MICROPHONE,
    source: Annotated[str, typer.Option(help="The device's name.")] = "braid-send",
    fps: Annotated[float, typer.Option(help="Pictures in a second, at most.", min=0.1, max=30)] = 2,
    from_s: Annotated[float, typer.Option("--from", help="Videos and recorded streams: first second.", min=0)] = 0,
    seconds: Annotated[float | None, typer.Option(help="For how long, at most.", min=0.1)] = None,
    json: output.Json = False,
) -> None:
    """Send media into the topics, as a device would: event time is now.

    Cameras on the network, webcams and microphones are sent until Ctrl-C, a camera that is lost is opened again; the times
    are those of the stream itself, from its start. Videos are sent as if they were captured now, in pictures and sound.
    """
    settings = load()
    if not settings.kafka.bootstrap_servers:
        output.no_broker()
    files, streams, openings = _sorted(what or [])
    openings += _of_this_machine(webcam_device if webcam else None, microphone_device if microphone else None)
    if not (files or streams or openings):
        output.fail("nothing to send: name files, folders, cameras (rtsp://…) or streams, or --webcam, --microphone", 2)
    _place(settings, files, streams, session, source)
    sent = asyncio.run(_send(settings, files, streams, session, source, from_s, seconds or STREAM_S))
    if openings:
        wanted = CaptureOptions(fps, settings.limits.pixels_max, from_s, seconds)
        sent += captured(settings, openings, session, source, wanted)
    if json:
        output.result({"session": session, "sent": sent})
        return
    for one in sent:
        if "modality" in one:
            place = f"partition {one['partition']} offset {one['offset']}"
            print(f"{one['modality']:6} {one['what']}  {one['bytes']} bytes  {place}")
        else:
            print(f"{one['what']}  {one['pictures']} pictures, {one['sound_s']} s of sound, {one['bytes']} bytes")


def _of_this_machine(webcam_device: str | None, microphone_device: str | None) -> list[CaptureSource]:
    if (webcam_device or microphone_device) and not source.has_devices():
        output.fail("webcams and microphones are opened on Linux only; send a camera by its address (rtsp://…)", 2)
    webcams = [source.webcam(webcam_device)] if webcam_device else []
    return webcams + ([source.microphone(microphone_device)] if microphone_device else [])


def _place(settings: Settings, files: Sequence[Path], streams: Sequence[str], session: str, source: str) -> None:
    """Refuse what would go nowhere, or where the settings say that it does not belong."""
    devices = DeviceDirectory(settings.devices)
    for modality in {TYPES[path.suffix.lower()][0] for path in files}:
        device = devices.settings_of(cloudevents.device_source(source, modality))
        if device is not None and device.modality not in ("", modality):
            output.fail(f"devices says that {source} sends {device.modality}, not {modality}", 2)
        if not session and (device is None or not device.session):
            output.fail(f"no session: give --session, or set one for {source} in devices", 2)
    if streams and not session:
        output.fail("no session: recorded streams need --session", 2)


def _sorted(what: Sequence[str]) -> tuple[list[Path], list[str], list[CaptureSource]]:
    files: list[Path] = []
    streams: list[str] = []
    openings: list[CaptureSource] = []
    for name in what:
        path = Path(name)
        if (found := source.network_stream(name)) is not None:
            openings.append(found)
        elif path.is_dir():
            files += sorted(p for p in path.iterdir() if p.suffix.lower() in TYPES)
        elif path.suffix.lower() in TYPES:
            if not path.exists():
                output.fail(f"{path} does not exist", 2)
            files.append(path)
        elif (found := source.media_file(path)) is not None:
            if not path.exists():
                output.fail(f"{path} does not exist", 2)
            openings.append(found)
        elif (ROOT / "data" / "homestream" / f"{name}.events.jsonl").exists():
            streams.append(name)
        else:
            known = ", ".join((*TYPES, *source.FILES))
            output.fail(f"{name} is no folder, no camera (rtsp://…), no recorded stream and none of {known}", 2)
    if len(files) > FILES_MAX:
        output.fail(f"{len(files)} files; at most {FILES_MAX} are sent at once", 2)
    return files, streams, openings


async def _send(
    settings: Settings,
    files: Sequence[Path],
    streams: Sequence[str],
    session: str,
    source: str,
    from_s: float,
    seconds: float,
) -> list[dict[str, Any]]:
    from services.kafka import clients

    topics, devices, sent = settings.topic_names(), DeviceDirectory(settings.devices), []
    async with clients.producer(settings.kafka) as producer:
        for number, path in enumerate(files):
            modality, content_type = TYPES[path.suffix.lower()]
            t_us, body = int(time.time() * 1e6), path.read_bytes()
            stream = cloudevents.device_source(source, modality)
            stamp, device = devices.stamp(stream, t_us), devices.settings_of(stream)
            belongs = (device.session if device else "") or session
            headers = cloudevents.build_headers(
                session=belongs,
                source=stream,
                id=f"{t_us}-{number}",
                type=cloudevents.media_type(modality),
                t_us=stamp.t_us,
                content_type=content_type,
                extensions=stamp.extensions,
            )
            done = await producer.send_and_wait(topics.media(modality), body, key=belongs.encode(), headers=headers)
            # The clock was read at the sending itself, however long the sound is.
            devices.acknowledged(stamp, 0, done.timestamp)
            at = {"partition": done.partition, "offset": done.offset}
            sent.append({"what": str(path), "modality": modality, "bytes": len(body), "session": belongs, **at})
        if streams:
            await _play(producer, topics, streams, session, from_s, seconds)
    return sent


async def _play(
    producer: Any, topics: Any, streams: Sequence[str], session: str, from_s: float, seconds: float
) -> None:
    from services.offline.evaluation.dataset import read_stream
    from services.offline.evaluation.player import PlaybackSchedule, play_streams

    # One stream keeps the session's name; of several each gets its own.
    names = {
        session if len(streams) == 1 else f"{session}-{name}": read_stream(ROOT / "data", name) for name in streams
    }
    now_us = int(time.time() * 1e6)
    schedule = PlaybackSchedule.live(now_us, from_s, seconds)
    await play_streams(producer, topics, names, schedule, now_us)
