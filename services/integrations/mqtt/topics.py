"""Names: sessions and sources as MQTT topics and Home Assistant's ids allow them. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_OTHER = re.compile(r"[^a-z0-9_]+")
SLUG_MAX = 40


def slug(text: str) -> str:
    """Lower case, digits and `_` for any text; another text never has the same one: what was changed ends in a hash."""
    plain = _OTHER.sub("_", text.lower()).strip("_")[:SLUG_MAX]
    if plain == text:
        return plain
    return f"{plain}_{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("_")


@dataclass(frozen=True, slots=True)
class MqttTopics:
    """Every MQTT topic that the bridge speaks on or listens to."""

    prefix: str = "braid"
    discovery: str = "homeassistant"

    @property
    def available(self) -> str:
        """`online` while the bridge is there, `offline` by its last will."""
        return f"{self.prefix}/bridge/available"

    @property
    def birth(self) -> str:
        """Where Home Assistant says that it has come up."""
        return f"{self.discovery}/status"

    def unique(self, session: str) -> str:
        """The id of a session's device."""
        return f"{slug(self.prefix)}_{slug(session)}"

    def config(self, session: str) -> str:
        return f"{self.discovery}/device/{self.unique(session)}/config"

    def for_session(self, session: str, what: str) -> str:
        """A topic of one session: step, event, image, prediction, or source/…"""
        return f"{self.prefix}/sessions/{slug(session)}/{what}"

    def mute(self, session: str, modality: str) -> str:
        """Whether a sense is muted; what is said to `…/set` below it changes that."""
        return self.for_session(session, f"mute/{slug(modality)}")

    @property
    def commands(self) -> str:
        """The filter of everything that can be said to a switch."""
        return f"{self.prefix}/sessions/+/mute/+/set"

    def source(self, session: str, modality: str, source: str) -> str:
        return self.for_session(session, f"source/{slug(f'{modality} {source}')}")
