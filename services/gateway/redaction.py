"""What must not be shown: media of muted senses, and everything of before a session was forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.contract import canonical
from services.contract.control import Control
from services.gateway.messages import PageMessage

Json = dict[str, Any]
CONTENT = ("media", "text", "peaks")


class Redactor:
    """of: what was said of a session, None where nothing was."""

    def __init__(self, of: Callable[[str], Control | None]) -> None:
        self._of = of

    def redact(self, told: PageMessage, at_us: int) -> PageMessage | None:
        """A record as it may be shown, appended at at_us: None where it is forgotten, without its content where muted."""
        control = self._of(told.session)
        if control is None:
            return told
        return None if control.forgets(told.from_us, at_us) else redact_muted(told, control)

    def is_forgotten(self, session: str, *times_us: int) -> bool:
        """True for what is about one of these times of a session, or came then."""
        control = self._of(session)
        return control is not None and control.forgets(*times_us)

    def is_muted(self, session: str, modality: str, *times_us: int) -> bool:
        """True for media of a session of any of these times: of their event time, or of when they came."""
        control = self._of(session)
        return control is not None and control.mutes(modality, *((t_us, t_us) for t_us in times_us))

    def muted_modalities(self, session: str) -> list[str]:
        """The senses of a session that are muted now."""
        control = self._of(session)
        return [] if control is None else sorted(control.since_us)

    def redact_members(self, session: str, members: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Members of a window, those of muted senses without their content."""
        return [
            {k: v for k, v in m.items() if k not in CONTENT} | {"muted": True}
            if self.is_muted(
                session, m["modality"], m["t_us"], m["t_us"] + m["duration_us"], m.get("arrived_us", m["t_us"])
            )
            else dict(m)
            for m in members
        ]


def redact_muted(told: PageMessage, control: Control) -> PageMessage:
    """A chunk of a muted sense without its content, any other record as it is."""
    facts = told.facts or {}
    if told.kind != "chunk" or facts.get("muted"):
        return told
    arrived_us = facts["arrived_us"]
    if not control.mutes(facts["source"][0], (told.from_us, told.to_us), (arrived_us, arrived_us)):
        return told
    read = {k: v for k, v in canonical.loads_object(told.raw).items() if k not in CONTENT}
    return replace(told, raw=canonical.dumps(read | {"muted": True}), facts={**facts, "muted": True})
