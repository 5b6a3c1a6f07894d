"""MQTT topics and Home Assistant ids of sessions and sources. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_OTHER = re.compile(r"[^a-z0-9_]+")
SLUG_MAX = 40


def slug(text: str) -> str:
    """Return a text in lower-case letters, digits and `_`; one that had to be changed ends in a hash, so none collide."""
    name = _OTHER.sub("_", text.lower()).strip("_")[:SLUG_MAX]
    if name == text:
        return name
    return f"{name}_{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("_")


@dataclass(frozen=True, slots=True)
class MqttTopics:
    """The MQTT topics that the bridge publishes or subscribes to."""

    prefix: str = "braid"
    discovery: str = "homeassistant"

    @property
    def available(self) -> str:
        """`online` while the bridge runs, `offline` by its last will."""
        return f"{self.prefix}/bridge/available"

    @property
    def birth(self) -> str:
        """Where Home Assistant announces that it has started."""
        return f"{self.discovery}/status"

    def unique(self, session: str) -> str:
        """Return the id of a session's device."""
        return f"{slug(self.prefix)}_{slug(session)}"

    def config(self, session: str) -> str:
        """Return the topic of a session's discovery message."""
        return f"{self.discovery}/device/{self.unique(session)}/config"

    def for_session(self, session: str, name: str) -> str:
        """Return the topic of a session that ends in `name`."""
        return f"{self.prefix}/sessions/{slug(session)}/{name}"

    def mute(self, session: str, modality: str) -> str:
        """Return the topic of a mute switch; `…/set` below it takes commands."""
        return self.for_session(session, f"mute/{slug(modality)}")

    @property
    def commands(self) -> str:
        """The topic filter of all switch commands."""
        return f"{self.prefix}/sessions/+/mute/+/set"

    def source(self, session: str, modality: str, source: str) -> str:
        """Return the topic of a source's connectivity."""
        return self.for_session(session, f"source/{slug(f'{modality} {source}')}")

    def clock(self, session: str, modality: str, source: str) -> str:
        """Return the topic of what is wrong with the clock of a source."""
        return f"{self.source(session, modality, source)}/clock"
