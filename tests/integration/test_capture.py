"""`braid send` with an RTSP camera and a video file, into a real broker."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image

from model.data.shards import find_file
from services.contract import canonical, cloudevents, timestamps
from services.inspection.audit.collect import collect_topic
from services.kafka import clients
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings
from tests.integration.rtsp import PICTURE_HZ, SOUND_HZ, Camera
from tests.integration.session import read_topic
from tests.waiting import wait_until

S = 1_000_000
SECONDS = 5
CLIP = ROOT / "data" / "homesound10" / "audio" / "1-116765-A.ogg"


def real_audio(seconds: int) -> bytes:
    """Return a recording, repeated to this length, as 16 kHz PCM."""
    samples, rate = soundfile.read(io.BytesIO(find_file(CLIP).read_bytes()), dtype="int16")
    assert rate == SOUND_HZ
    return bytes(np.resize(samples, seconds * rate).astype("<i2").tobytes())


def numbered_frames(count: int) -> list[bytes]:
    """Return JPEG images whose brightness encodes their number."""
    out = []
    for n in range(count):
        file = io.BytesIO()
        Image.new("RGB", (160, 112), (5 * n, 5 * n, 5 * n)).save(file, "JPEG", quality=90, subsampling="4:2:0")
        out.append(file.getvalue())
    return out


def number_of(jpeg: bytes) -> int:
    with Image.open(io.BytesIO(jpeg)) as image:
        return round(float(np.asarray(image.convert("L")).mean()) / 5)


async def braid_send(stack: LocalStack, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "braid"),
        "send",
        *words,
        env={**os.environ, **stack.environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def read_media(settings: Settings, modality: str, session: str) -> list[tuple[int, bytes]]:
    """Return the event time and bytes of the media of a session."""
    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        raws = await collect_topic(reader, settings.topic_names().media(modality), settings.topics.partitions)
    records = [raw for raw in raws if raw.key == session.encode() and raw.value]
    return [(timestamps.parse(dict(raw.headers)["ce_time"].decode()) or 0, raw.value or b"") for raw in records]


async def windows_with_frames_and_audio(settings: Settings, session: str) -> list[dict[str, Any]] | None:
    """Return the final windows of a session in which video and audio are present, None if there are none."""
    windows = await read_topic(settings, settings.topic_names().windows)
    finals = [w for w in windows if w.get("session") == session and w["final"]]
    both = [w for w in finals if {w["modalities"][m]["state"] for m in ("video", "audio")} == {"present"}]
    return both or None


async def test_a_camera_is_sent_with_the_times_of_its_stream_and_becomes_windows(
    stack: LocalStack, services: dict[str, ServiceProcess], settings: Settings
) -> None:
    camera = Camera(numbered_frames(SECONDS * PICTURE_HZ), samples := real_audio(SECONDS))
    address = await camera.start()
    try:
        code, out, err = await braid_send(stack, address, "--session", "porch of cameras", "--seconds", "3", "--json")
    finally:
        await camera.stop()
    assert code == 0, err
    assert "secret" not in out + err, "a password is never printed"
    (summary,) = json.loads(out)["sent"]
    frames, audio = (
        await read_media(settings, "video", "porch of cameras"),
        await read_media(settings, "audio", "porch of cameras"),
    )
    assert summary["frames"] == len(frames) in (6, 7)
    assert summary["bytes"] == sum(len(body) for _, body in frames + audio)
    assert 2.5 < summary["audio_s"] < 3.5

    numbers = [number_of(body) for _, body in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 5 * len(numbers), 5)), "two frames per second of the ten"
    frame_starts = {t_us - n * S // PICTURE_HZ for (t_us, _), n in zip(frames, numbers, strict=True)}
    assert max(frame_starts) - min(frame_starts) <= 1_000, "event times have the distances of the stream's timestamps"
    position = samples.find(audio[0][1])
    assert position >= 0
    assert samples[position:].startswith(b"".join(body for _, body in audio)), "every sample, once and in order"
    audio_starts = {
        t_us - (position + sum(len(b) for _, b in audio[:n])) // 2 * S // SOUND_HZ for n, (t_us, _) in enumerate(audio)
    }
    assert max(audio_starts) - min(audio_starts) <= 1_000, "no gap"
    assert abs(min(audio_starts) - min(frame_starts)) <= 2_000, "frames and audio share one timeline"
    assert camera.begins_us <= min(frame_starts) <= time.time_ns() // 1000, (
        "the timeline is that of the camera plus the delay"
    )

    async def full() -> bool:
        # The first windows of a stream start before it and are published before the first full one.
        windows = await windows_with_frames_and_audio(settings, "porch of cameras") or []
        return any(len(w["modalities"]["video"]["members"]) == 4 for w in windows)

    assert await wait_until(full, "a window of two seconds with audio and two frames per second")


async def test_a_video_file_is_sent_as_frames_and_audio_with_present_event_times(
    stack: LocalStack, services: dict[str, ServiceProcess], settings: Settings, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    write_video(clip, seconds=2)
    started_us = time.time_ns() // 1000
    code, out, err = await braid_send(stack, str(clip), "--session", "film", "--fps", "4", "--json")
    ended_us = time.time_ns() // 1000
    assert code == 0, err
    (summary,) = json.loads(out)["sent"]
    frames, audio = await read_media(settings, "video", "film"), await read_media(settings, "audio", "film")
    assert summary["frames"] == len(frames) == 8
    assert [b - a for (a, _), (b, _) in pairwise(frames)] == [
        S * (n2 - n1) // PICTURE_HZ for n1, n2 in zip([0, 3, 5, 8, 10, 13, 15], [3, 5, 8, 10, 13, 15, 18], strict=True)
    ], "the first frame of each quarter of a second"
    assert sum(len(body) for _, body in audio) // 2 >= 2 * SOUND_HZ - 2_000
    for (before, body), (after, _) in pairwise(audio):
        assert after - before == len(body) // 2 * S // SOUND_HZ
    assert started_us < frames[0][0]
    assert frames[-1][0] < ended_us, "no event time is in the future"
    windows = await wait_until(lambda: windows_with_frames_and_audio(settings, "film"), "windows with frames and audio")
    assert all(canonical.dumps(w) for w in windows)
    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        raws = await collect_topic(reader, settings.topic_names().media("video"), settings.topics.partitions)
    types = [cloudevents.raw_type(raw.headers).decode() for raw in raws if raw.key == b"film"]
    assert types[-1] == cloudevents.SESSION_END_TYPE, "the end of the file ends the session"


def write_video(path: Path, seconds: int) -> None:
    """Write an MP4 file with MPEG-4 video and AAC audio."""
    with av.open(str(path), "w") as out:
        frames = out.add_stream("mpeg4", rate=PICTURE_HZ)
        frames.width, frames.height, frames.pix_fmt = 160, 112, "yuv420p"
        audio = out.add_stream("aac", rate=SOUND_HZ, layout="mono")
        for jpeg in numbered_frames(seconds * PICTURE_HZ):
            with Image.open(io.BytesIO(jpeg)) as image:
                out.mux(frames.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        samples = np.frombuffer(real_audio(seconds), "<i2")
        for begin in range(0, len(samples), 1024):
            piece = samples[begin : begin + 1024].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece.astype("<i2"), format="s16", layout="mono")
            frame.sample_rate, frame.pts = SOUND_HZ, begin
            out.mux(audio.encode(frame))
        out.mux(frames.encode(None))
        out.mux(audio.encode(None))


async def test_a_missing_device_is_reported_with_what_to_do(stack: LocalStack) -> None:
    code, out, err = await braid_send(stack, "--webcam", "--webcam-device", "/dev/video99", "--session", "x")
    assert (code, out) == (1, "")
    assert "webcam /dev/video99: No such file or directory" in err
    assert "v4l2-ctl" in err
    code, _, err = await braid_send(stack, "rtsp://me:secret@127.0.0.1:1/x", "--session", "x")
    assert code == 1
    assert err.strip() == "braid: rtsp://127.0.0.1:1/x: Connection refused"
