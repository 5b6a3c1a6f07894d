"""What `braid send` may be told to open, and how. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

STREAMS = ("rtsp", "rtsps", "http", "https")
FILES = (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".ts", ".mpg", ".mpeg", ".mp3", ".m4a", ".aac", ".opus")
WEBCAM, MICROPHONE = "/dev/video0", "default"
# A little is enough to know the codecs; what is read to learn more would arrive late.
PROBE = {"analyzeduration": "500000", "probesize": "500000"}
NETWORK = "rtsp,rtp,rtcp,udp,tcp,tls,srtp,http,https,httpproxy,crypto"


@dataclass(frozen=True, slots=True)
class CaptureSource:
    """One thing to open; name: as people are told, without a password; live: it is captured now, and has no end.

    formats: of which the first that is known is used; hint: what to do where it cannot be opened.
    """

    url: str
    name: str
    live: bool
    formats: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""


def network_stream(word: str) -> CaptureSource | None:
    """A camera on the network, None for any other word."""
    address = urlsplit(word)
    if address.scheme not in STREAMS or not address.hostname:
        return None
    port = f":{address.port}" if address.port else ""
    name = f"{address.scheme}://{address.hostname}{port}{address.path}"
    options = {**PROBE, "protocol_whitelist": NETWORK}
    if address.scheme.startswith("rtsp"):
        # Over UDP what is lost is lost, and a firewall may take all of it.
        options["rtsp_transport"] = "tcp"
    return CaptureSource(word, name, True, (), options)


def media_file(path: Path) -> CaptureSource | None:
    """A video or a long sound, None for any other file."""
    if path.suffix.lower() not in FILES:
        return None
    return CaptureSource(str(path), str(path), False, (), {"protocol_whitelist": "file"})


def webcam(device: str = WEBCAM) -> CaptureSource:
    """A camera of this machine."""
    return CaptureSource(
        device, f"webcam {device}", True, ("v4l2",), hint="; v4l2-ctl --list-devices names those that are there"
    )


def microphone(device: str = MICROPHONE) -> CaptureSource:
    """A microphone of this machine; PulseAudio where PyAV was built with it."""
    # The ALSA inside PyAV's wheel looks for its configuration where it was built.
    hint = "; arecord -L names those that are there, and PyAV may need ALSA_CONFIG_PATH=/usr/share/alsa/alsa.conf"
    return CaptureSource(device, f"microphone {device}", True, ("pulse", "alsa"), hint=hint)


def has_devices() -> bool:
    """Whether webcams and microphones can be opened by these names here."""
    return sys.platform == "linux"
