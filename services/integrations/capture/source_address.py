"""The cameras, microphones and files that `braid send` can open. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

STREAMS = ("rtsp", "rtsps", "http", "https")
FILES = (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".ts", ".mpg", ".mpeg", ".mp3", ".m4a", ".aac", ".opus")
WEBCAM, MICROPHONE = "/dev/video0", "default"
# A little is enough to find the codecs; reading more would delay the first frames.
PROBE = {"analyzeduration": "500000", "probesize": "500000"}
NETWORK = "rtsp,rtp,rtcp,udp,tcp,tls,srtp,http,https,httpproxy,crypto"


@dataclass(frozen=True, slots=True)
class CaptureSource:
    """One thing to open.

    Attributes:
        url: What PyAV opens.
        name: What people see, without a password.
        live: It is captured now and has no end.
        formats: PyAV's names of the input format; the first that is available is used.
        options: PyAV's options.
        hint: What to do if it cannot be opened.
    """

    url: str
    name: str
    live: bool
    formats: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""


def network_stream(text: str) -> CaptureSource | None:
    """Return a camera on the network, None if the text is not the address of one."""
    address = urlsplit(text)
    if address.scheme not in STREAMS or not address.hostname:
        return None
    port = f":{address.port}" if address.port else ""
    name = f"{address.scheme}://{address.hostname}{port}{address.path}"
    options = {**PROBE, "protocol_whitelist": NETWORK}
    if address.scheme.startswith("rtsp"):
        # UDP loses packets, and firewalls block it.
        options["rtsp_transport"] = "tcp"
    return CaptureSource(text, name, True, (), options)


def media_file(path: Path) -> CaptureSource | None:
    """Return a video or compressed audio file, None for any other file."""
    if path.suffix.lower() not in FILES:
        return None
    return CaptureSource(str(path), str(path), False, (), {"protocol_whitelist": "file"})


def webcam(device: str = WEBCAM) -> CaptureSource:
    """Return a camera of this machine."""
    return CaptureSource(device, f"webcam {device}", True, ("v4l2",), hint="; v4l2-ctl --list-devices lists cameras")


def microphone(device: str = MICROPHONE) -> CaptureSource:
    """Return a microphone of this machine, through PulseAudio if PyAV was built with it."""
    # The ALSA in PyAV's wheel looks for its configuration at the path of its build.
    hint = "; arecord -L lists microphones; PyAV may need ALSA_CONFIG_PATH=/usr/share/alsa/alsa.conf"
    return CaptureSource(device, f"microphone {device}", True, ("pulse", "alsa"), hint=hint)


def has_devices() -> bool:
    """Return whether webcams and microphones can be opened by these names on this machine."""
    return sys.platform == "linux"
