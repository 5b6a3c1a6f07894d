"""Rules of what is not shown: media of muted modalities, and everything before a session was forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.contract import canonical
from services.contract.mute_and_forget import Control
from services.gateway.messages import PageMessage

Json = dict[str, Any]
CONTENT_FIELDS = ("media", "text", "peaks")


class Redactor:
    """Applies the newest control record of each session; `control_of` returns it, or None."""

    def __init__(self, control_of: Callable[[str], Control | None]) -> None:
        self._control_of = control_of

    def redact(self, message: PageMessage, appended_us: int) -> PageMessage | None:
        """Return a message as it may be shown: None if it is forgotten, without its content if it is muted."""
        control = self._control_of(message.session)
        if control is None:
            return message
        return None if control.forgets(message.from_us, appended_us) else redact_muted(message, control)

    def is_forgotten(self, session: str, *times_us: int) -> bool:
        """Return whether any of these event or append times of a session is forgotten."""
        control = self._control_of(session)
        return control is not None and control.forgets(*times_us)

    def is_muted(self, session: str, modality: str, *times_us: int) -> bool:
        """Return whether a stream was muted at any of these event or append times."""
        control = self._control_of(session)
        return control is not None and control.mutes(modality, *((t_us, t_us) for t_us in times_us))

    def muted_modalities(self, session: str) -> list[str]:
        """Return the modalities of a session that are muted now."""
        control = self._control_of(session)
        return [] if control is None else sorted(control.muted_since_us)

    def redact_members(self, session: str, members: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Return members of a window, muted ones without their content."""
        return [
            _without_content(m)
            if self.is_muted(
                session, m["modality"], m["t_us"], m["t_us"] + m["duration_us"], m.get("arrived_us", m["t_us"])
            )
            else dict(m)
            for m in members
        ]


def redact_muted(message: PageMessage, control: Control) -> PageMessage:
    """Return a muted chunk without its content, and any other message unchanged."""
    facts = message.facts or {}
    if message.kind != "chunk" or facts.get("muted"):
        return message
    arrived_us = facts["arrived_us"]
    if not control.mutes(facts["source"][0], (message.from_us, message.to_us), (arrived_us, arrived_us)):
        return message
    raw = canonical.dumps(_without_content(canonical.loads_object(message.raw)))
    return replace(message, raw=raw, facts={**facts, "muted": True})


def _without_content(chunk: Mapping[str, Any]) -> Json:
    return {name: value for name, value in chunk.items() if name not in CONTENT_FIELDS} | {"muted": True}
