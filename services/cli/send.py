"""`braid send`: send files, recorded streams, cameras and microphones into the topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.contract import cloudevents
from services.integrations.capture import source_address as capture_source
from services.integrations.capture.source_address import MICROPHONE, WEBCAM, CaptureSource
from services.runtime.device_directory import DeviceDirectory
from services.runtime.settings import ROOT, Settings, load

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from services.integrations.capture.sender import CaptureOptions, SendCounts

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
        str, typer.Option(help="The session: a room, a call, a person. Not needed if the device's settings name one.")
    ] = "",
    webcam: Annotated[bool, typer.Option("--webcam", help="Send this machine's camera.")] = False,
    microphone: Annotated[bool, typer.Option("--microphone", help="Send this machine's microphone.")] = False,
    webcam_device: Annotated[str, typer.Option(help="The camera to use.")] = WEBCAM,
    microphone_device: Annotated[str, typer.Option(help="The microphone to use, by its ALSA name.")] = MICROPHONE,
    source: Annotated[str, typer.Option(help="The device's name.")] = "braid-send",
    fps: Annotated[float, typer.Option(help="The largest number of frames per second.", min=0.1, max=30)] = 2,
    from_s: Annotated[
        float, typer.Option("--from", help="For videos and recorded streams: the first second to send.", min=0)
    ] = 0,
    seconds: Annotated[float | None, typer.Option(help="The longest duration to send.", min=0.1)] = None,
    json: output.Json = False,
) -> None:
    """Send media into the topics, as a device would: event time is now.

    Network cameras, webcams and microphones are sent until Ctrl-C, with the times of the stream itself from its start; a
    camera that is lost is opened again. Videos are sent as if they were captured now, as frames and audio.
    """
    settings = load()
    settings.require_broker()
    files, streams, openings = _sort(what or [])
    openings += _local_devices(webcam_device if webcam else None, microphone_device if microphone else None)
    if not (files or streams or openings):
        raise output.UsageError(
            "There is nothing to send.",
            do="Name files, folders, cameras (rtsp://…) or streams, or give --webcam or --microphone.",
        )
    _check_sessions(settings, files, streams, session, source)
    sent = asyncio.run(_send(settings, files, streams, session, source, from_s, seconds or STREAM_S))
    if openings:
        from services.integrations.capture.sender import CaptureOptions

        sent += _send_captures(
            settings, openings, session, source, CaptureOptions(fps, settings.limits.pixels_max, from_s, seconds)
        )
    if json:
        output.print_json({"session": session, "sent": sent})
        return
    for item in sent:
        if "modality" in item:
            position = f"partition {item['partition']} offset {item['offset']}"
            print(f"{item['modality']:6} {item['what']}  {item['bytes']} bytes  session {item['session']}  {position}")
        elif "records" in item:
            print(f"{item['what']}  {item['records']} records  session {item['session']}")
        else:
            print(f"{item['what']}  {item['frames']} frames, {item['audio_s']} s of audio, {item['bytes']} bytes")


def _local_devices(webcam_device: str | None, microphone_device: str | None) -> list[CaptureSource]:
    if (webcam_device or microphone_device) and not capture_source.has_devices():
        raise output.UsageError(
            "Webcams and microphones can be opened on Linux only.", do="Send a camera by its address (rtsp://…)."
        )
    webcams = [capture_source.webcam(webcam_device)] if webcam_device else []
    return webcams + ([capture_source.microphone(microphone_device)] if microphone_device else [])


def _missing_session(name: str) -> output.UsageError:
    return output.UsageError(f"{name} has no session.", do="Give --session, or set one for the device in `devices`.")


def _check_sessions(
    settings: Settings, files: Sequence[Path], streams: Sequence[str], session: str, source: str
) -> None:
    """Raise UsageError for files without a session, or of a modality that the device's settings exclude."""
    devices = DeviceDirectory(settings.devices)
    for modality in {TYPES[path.suffix.lower()][0] for path in files}:
        device = devices.settings_of(cloudevents.device_source(source, modality))
        if device is not None and device.modality not in ("", modality):
            raise output.UsageError(f"The settings say that {source} sends {device.modality}, not {modality}.")
        if not session and (device is None or not device.session):
            raise _missing_session(source)
    if streams and not session:
        raise _missing_session("A recorded stream")


def _sort(names: Sequence[str]) -> tuple[list[Path], list[str], list[CaptureSource]]:
    """Return the files, the recorded streams, and the cameras and videos among these names."""
    files: list[Path] = []
    streams: list[str] = []
    openings: list[CaptureSource] = []
    for name in names:
        path = Path(name)
        if (camera := capture_source.network_stream(name)) is not None:
            openings.append(camera)
        elif path.is_dir():
            files += sorted(p for p in path.iterdir() if p.suffix.lower() in TYPES)
        elif path.suffix.lower() in TYPES:
            files.append(_existing(path))
        elif (video := capture_source.media_file(path)) is not None:
            _existing(path)
            openings.append(video)
        elif (ROOT / "data" / "homestream" / f"{name}.events.jsonl").exists():
            streams.append(name)
        else:
            types = " ".join((*TYPES, *capture_source.FILES))
            raise output.UsageError(
                f"{name} cannot be sent.",
                f"It is not a folder, a camera (rtsp://…), a recorded stream or a file of a known type ({types}).",
            )
    if len(files) > FILES_MAX:
        raise output.UsageError(f"{len(files)} files are too many.", f"At most {FILES_MAX} are sent at once.")
    return files, streams, openings


def _existing(path: Path) -> Path:
    if not path.exists():
        raise output.UsageError(f"{path} does not exist.")
    return path


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
    from services.offline.evaluation.dataset import read_stream
    from services.offline.evaluation.kafka_player import PlaybackSchedule, play_streams

    topics, devices, sent = settings.topic_names(), DeviceDirectory(settings.devices), []
    async with clients.producer(settings.kafka, settings.topics.partitions) as producer:
        for number, path in enumerate(files):
            sent.append(await _send_file(producer, settings, devices, path, number, session, source))
        if streams:
            # A single stream keeps the session's name; several get one each.
            sessions = {session if len(streams) == 1 else f"{session}-{name}": name for name in streams}
            recordings = {name: read_stream(ROOT / "data", stream) for name, stream in sessions.items()}
            now_us = int(time.time() * 1e6)
            schedule = PlaybackSchedule.live(now_us, from_s, seconds)
            output.note(f"sending {', '.join(streams)} for up to {seconds:g} s")
            played = await play_streams(producer, topics, recordings, schedule, now_us)
            sent += [
                {"what": stream, "session": name, "records": played.by_session[name]}
                for name, stream in sessions.items()
            ]
    return sent


async def _send_file(
    producer: AIOKafkaProducer,
    settings: Settings,
    devices: DeviceDirectory,
    path: Path,
    number: int,
    session: str,
    source: str,
) -> dict[str, Any]:
    modality, content_type = TYPES[path.suffix.lower()]
    t_us, body = int(time.time() * 1e6), await asyncio.to_thread(path.read_bytes)
    stream = cloudevents.device_source(source, modality)
    stamp, device = devices.stamp(stream, t_us), devices.settings_of(stream)
    key = (device.session if device else "") or session
    headers = cloudevents.build_headers(
        session=key,
        source=stream,
        id=f"{t_us}-{number}",
        type=cloudevents.media_type(modality),
        t_us=stamp.t_us,
        content_type=content_type,
        extensions=stamp.extensions,
    )
    topic = settings.topic_names().media(modality)
    done = await producer.send_and_wait(topic, body, key=key.encode(), headers=headers)
    # The duration is 0: the clock was read when the file was sent, however long its audio is.
    devices.acknowledged(stamp, 0, done.timestamp)
    position = {"partition": done.partition, "offset": done.offset}
    return {"what": str(path), "modality": modality, "bytes": len(body), "session": key, **position}


def _send_captures(
    settings: Settings, openings: Sequence[CaptureSource], session: str, source: str, options: CaptureOptions
) -> list[dict[str, Any]]:
    """Send cameras, microphones and videos side by side until all have ended or Ctrl-C; return what was sent."""
    names = [source if n == 0 else f"{source}-{n + 1}" for n in range(len(openings))]
    for name in names if not session else ():
        device = DeviceDirectory(settings.devices).settings_of(cloudevents.device_source(name, "video"))
        if device is None or not device.session:
            raise _missing_session(name)
    sent: list[SendCounts] = []
    try:
        asyncio.run(_capture(settings, dict(zip(names, openings, strict=True)), session, options, sent))
    except* KeyboardInterrupt:
        pass
    return [
        {
            "what": s.name,
            "frames": s.frames,
            "audio_s": round(s.audio_us / 1e6, 1),
            "bytes": s.bytes,
            "lost": s.lost,
        }
        for s in sent
    ]


async def _capture(
    settings: Settings,
    openings: dict[str, CaptureSource],
    session: str,
    options: CaptureOptions,
    sent: list[SendCounts],
) -> None:
    from services.integrations.capture.sender import Sender
    from services.kafka import clients

    devices, topics = DeviceDirectory(settings.devices), settings.topic_names()
    async with clients.producer(settings.kafka, settings.topics.partitions) as producer, asyncio.TaskGroup() as group:
        for name, opening in openings.items():
            sender = Sender(producer, topics, devices, session, name, opening, options, output.note)
            sent.append(sender.sent)
            group.create_task(sender.run())
