"""The outcome of a scene (logs, windows and fates, in milliseconds since its start) and that of the oracle."""

from __future__ import annotations

from services.contract import tick
from services.contract.alignment_config import AlignmentConfig
from services.contract.window import Window
from services.inspection.audit.decode_media import decode_media_record
from services.inspection.audit.oracle import LogEntry, judge_logs
from tests.cases.devices import EPOCH_MS
from tests.simulation.broker import FakeRecord

MODALITIES = ("text", "video", "audio")
SEMANTICS = AlignmentConfig(sessions=(("av", ("audio", "video")), ("v", ("video",))))
STRENGTH = ("late", "duplicate", "dead", "windowed")  # of several fates of one record the strongest counts


class Outcome:
    """The media logs, the final windows with their emission times, and the fate of each record."""

    def __init__(self) -> None:
        self.logs: dict[str, list[FakeRecord]] = {modality: [] for modality in MODALITIES}
        self.windows: list[tuple[float, Window]] = []
        self.fate_of: dict[tuple[str, int], str] = {}
        self.dead: list[tuple[str, int, str, str]] = []
        self.rejected: set[tuple[str, int]] = set()
        self.offsets_ms: dict[str, int] = {}

    def record_fate(self, at: tuple[str, int], fate: str) -> None:
        """Record a fate of the record at (modality, offset)."""

        def strength(fate: str) -> int:
            return STRENGTH.index(fate if fate in STRENGTH else "dead")

        self.fate_of[at] = max(fate, self.fate_of.get(at, fate), key=strength)

    def ends(self) -> dict[str, int]:
        return {modality: len(log) for modality, log in self.logs.items()}

    def outcome(self) -> tuple[object, object]:
        """Return every version of each final window, and the fate of each admitted record by its position."""
        versions: dict[tuple[str, int], list[Window]] = {}
        for window in self.finals(session=None):
            found = versions.setdefault((window.session, window.start_us), [])
            if window not in found:
                found.append(window)
        return versions, {at: fate for at, fate in self.fate_of.items() if at not in self.rejected}

    def oracle_outcome(self) -> tuple[object, object]:
        """Return the same as the oracle derives it from the logs; a window that is still open is `open`."""
        logs: dict[str, list[LogEntry]] = {modality: [] for modality in MODALITIES}
        for modality, log in self.logs.items():
            for r in log:
                holds = decode_media_record(r, modality, 0, SEMANTICS)
                if holds is not None and (modality, r.offset) not in self.rejected:
                    logs[modality].append(LogEntry(r.offset, r.timestamp * 1000, holds))
        verdict = judge_logs(logs, SEMANTICS)
        windows: dict[tuple[str, int], list[Window | str]] = {key: [w] for key, w in verdict.windows.items()}
        return windows | {key: ["open"] for key in verdict.open}, verdict.fates

    def finals(self, session: str | None = "av") -> list[Window]:
        """Return the final windows in the order of emission."""
        return [w for _, w in self.windows if session in (None, w.session)]

    def starts(self, session: str = "av") -> list[int]:
        return [window.start_us // 1000 - EPOCH_MS for window in self.finals(session)]

    def closed_at(self, start: int, session: str = "av") -> float:
        """Return when the final window with this start was first emitted."""
        us = (EPOCH_MS + start) * 1000
        return min(at for at, w in self.windows if w.session == session and w.start_us == us)

    def mask(self, start: int, modality: str, session: str = "av") -> tuple[str, str | None]:
        """Return state and evidence of one modality of a final window."""
        members_of = self._window(start, session).modalities[modality]
        return members_of.state, members_of.evidence

    def members(self, start: int, modality: str, session: str = "av", source: str = "d") -> list[str]:
        found = self._window(start, session).modalities[modality].members
        return [member.id for member in found if member.source == source]

    def holding(self, id: str, modality: str, session: str = "av", source: str = "d") -> list[int]:
        """Return the starts of the final windows that hold a chunk."""
        return [start for start in self.starts(session) if id in self.members(start, modality, session, source)]

    def fates(self, modality: str, source: str = "d") -> list[str]:
        """Return the fate of each record of a source, in the order of the log."""
        name = ("ce_source", source.encode())
        return [self.fate_of[modality, r.offset] for r in self.logs[modality] if name in r.headers]

    def ticks(self, modality: str, session: str = "av") -> list[tuple[int, int, str]]:
        """Return (append time, watermark, evidence) of the idle records in a log."""
        found = [(r.timestamp - EPOCH_MS, tick.decode(r.value or b"")) for r in self.logs[modality] if r.key is None]
        bounds = [(at, t.bounds.get(session), t.evidence) for at, t in found if isinstance(t, tick.Tick)]
        return [(at, bound // 1000 - EPOCH_MS, why) for at, bound, why in bounds if bound is not None]

    def _window(self, start: int, session: str) -> Window:
        us = (EPOCH_MS + start) * 1000
        return next(window for window in self.finals(session) if window.start_us == us)
