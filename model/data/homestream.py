"""Read recorded home streams as a server received them: messages in order of arrival, and the rendered microphone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from model.data.shards import DataFile, find_file
from services.contract.user_errors import EXIT_USAGE, BraidError

RATE = 8_000
SOURCES = {"mic": "audio", "cam": "video", "text": "text"}


class UnreadableStream(BraidError):
    """A recorded stream that cannot be read."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class Received:
    """One message of a recording; times are stream microseconds, t_us by the sender's clock.

    Attributes:
        sound: Range [from, to) of samples of the rendered microphone.
        picture: The photo's file, or its bytes. A message without sound, picture and text says that the source is alive.
    """

    arrived_us: int
    source: str
    sequence: int
    t_us: int
    sound: tuple[int, int] | None = None
    picture: DataFile | bytes | None = None
    text: str | None = None

    @property
    def modality(self) -> str:
        """The modality of the source."""
        return SOURCES[self.source]


def read_messages(events: Path, root: Path) -> Iterator[Received]:
    """Yield the messages of `Sxx.events.jsonl` in order of arrival.

    Args:
        events: The file.
        root: The folder of the sets that it names.

    Raises:
        RecordingError: If the file or a picture that it names cannot be read.
    """
    number = 0
    try:
        with events.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield _parse_message(json.loads(line), root)
    except UnreadableStream as error:
        raise UnreadableStream(f"{events}, line {number}: {error}") from error
    except OSError as error:
        raise UnreadableStream(f"{events} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UnreadableStream(f"{events}, line {number}: not a message ({type(error).__name__}: {error})") from error


def _find_picture(path: Path) -> DataFile:
    try:
        return find_file(path)
    except OSError as error:
        raise UnreadableStream(f"there is no {path}") from error


def _parse_message(event: dict[str, Any], root: Path) -> Received:
    chunk = event.get("chunk")
    return Received(
        arrived_us=round(event["t_arrive"] * 1_000_000),
        source=event["source"],
        sequence=event["seq"],
        t_us=round(event["t_stamp"] * 1_000_000),
        sound=None if chunk is None else (round(chunk[0] * RATE), round(chunk[1] * RATE)),
        picture=_find_picture(root / event["set"] / event["image"]) if "image" in event else None,
        text=event.get("text"),
    )


def render_microphone(mix: Path, root: Path) -> NDArray[np.int16]:
    """Render `Sxx.audio.json` at 8 kHz: the looped background plus every clip at its time, rounded and clipped.

    Raises:
        RecordingError: If a file cannot be read.
    """
    try:
        config = json.loads(mix.read_text())
        ambient = config["ambient"]
        length = round(config["duration_s"] * RATE)
        bed = _read_samples(root / ambient.get("set", "homesound10") / ambient["clip"])
        sound = (np.resize(bed, length) if ambient["loop"] else np.pad(bed, (0, length))[:length]) * ambient["gain"]
        for entry in config["audio"]:
            clip = _read_samples(root / entry["set"] / entry["clip"])
            begin = round(entry["t"] * RATE)
            part = clip[: max(length - begin, 0)]
            sound[begin : begin + len(part)] += part * entry["gain"]
    except OSError as error:
        raise UnreadableStream(f"{mix} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UnreadableStream(f"{mix}: not the mix of a microphone ({type(error).__name__}: {error})") from error
    rendered: NDArray[np.int16] = np.clip(np.round(sound), -32768, 32767).astype(np.int16)
    return rendered


def _read_samples(path: Path) -> NDArray[np.float64]:
    try:
        samples, rate = soundfile.read(io.BytesIO(find_file(path).read_bytes()), dtype="int16", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise UnreadableStream(f"{path} is not a sound that can be read ({error})") from error
    values: NDArray[np.float64] = samples.mean(axis=1, dtype=np.float64)
    if rate == RATE:
        return values
    if rate != 2 * RATE:
        raise UnreadableStream(f"{path} has {rate} Hz; recordings are rendered from 8 and 16 kHz")
    halved: NDArray[np.float64] = values[: len(values) // 2 * 2].reshape(-1, 2).mean(axis=1)
    return halved
