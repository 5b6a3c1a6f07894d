"""Drives the aligner through timelines: one call per record, times in milliseconds."""

from __future__ import annotations

from typing import Any

from services.aligner.alignment import Aligner, Fate, fate_name
from services.aligner.session import Session, Stream
from services.contract.alignment_config import AlignmentConfig, StreamConfig
from services.contract.chunk import EMPTY_SHA256, Chunk, SessionEnd
from services.contract.session_reset import SessionReset
from services.contract.tick import Tick, TickEvidence
from services.contract.window import Window

MS = 1_000
# Windows of 100 ms every 50 ms: w0 is [0, 100), w50 is [50, 150) ...
SEMANTICS = AlignmentConfig(
    size_us=100 * MS,
    hop_us=50 * MS,
    streams={"audio": StreamConfig(10 * MS, True), "video": StreamConfig(20 * MS, False)},
    members_max=4,
    lead_us=None,  # the append times of timelines count records
)


class Line:
    """An aligner of one partition number and the windows that it let out."""

    def __init__(self, semantics: AlignmentConfig = SEMANTICS, frontiers: dict[str, int] | None = None) -> None:
        self.aligner = Aligner(semantics, frontiers or {})
        self.out: list[Window] = []
        self.fates: list[Fate] = []
        self._offsets = dict.fromkeys(semantics.modalities, 0)

    def audio(self, t: int, length: int = 50, **more: Any) -> str:
        """Append a chunk of audio."""
        return self.send("audio", t, length, **more)

    def video(self, t: int, **more: Any) -> str:
        """A frame."""
        return self.send("video", t, 0, **more)

    def send(
        self,
        modality: str,
        t: int,
        length: int = 0,
        *,
        id: str = "",
        content: str = "a",
        session: str = "s",
        source: str = "d",
        alive: bool = False,
    ) -> str:
        """Its fate."""
        sha256 = EMPTY_SHA256 if alive else content * 64
        offset, us = self._next(modality), self.now_us
        chunk = Chunk(session, modality, source, id or str(t), t * MS, length * MS, sha256, 0, offset, us)
        fate, windows = self.aligner.add_chunk(chunk, us)
        self.out += windows
        self.fates.append(fate)
        return fate_name(fate)

    def tick(self, modality: str, bound: float, evidence: TickEvidence = "tick", session: str = "s") -> None:
        """A bound in the log."""
        tick = Tick({session: round(bound * MS)}, evidence)
        self.out += self.aligner.apply_tick(modality, tick, self._next(modality), self.now_us, self.now_us)

    def end(self, modality: str, source: str = "d", session: str = "s") -> None:
        self.aligner.end_source(modality, SessionEnd(session, source), self._offsets[modality])

    def reset(self, modality: str, generation: int, session: str = "s") -> None:
        """A reset in one log."""
        reset, offset, us = SessionReset(session, generation), self._next(modality), self.now_us
        self.out += self.aligner.apply_reset(modality, reset, offset, us, us)

    def starts(self, session: str = "s") -> list[int]:
        """The windows that came out, by start in ms."""
        return [w.start_us // MS for w in self.out if w.session == session]

    def mask(self, start: int) -> dict[str, tuple[str, str | None]]:
        """State and evidence of a window that came out."""
        (window,) = (w for w in self.out if w.start_us == start * MS)
        return {name: (lane.state, lane.evidence) for name, lane in window.modalities.items()}

    def members(self, start: int, modality: str) -> list[str]:
        (window,) = (w for w in self.out if w.start_us == start * MS)
        return [m.id for m in window.modalities[modality].members]

    @property
    def now_us(self) -> int:
        """A broker's clock that goes on by a millisecond a record."""
        return sum(self._offsets.values()) * MS

    def lane(self, modality: str, session: str = "s") -> Stream:
        return self.aligner.sessions[session].streams[modality]

    def floor(self, modality: str) -> int:
        return self.aligner.commit_offset(modality, self._offsets[modality])

    def _next(self, modality: str) -> int:
        self._offsets[modality] += 1
        return self._offsets[modality] - 1


class At(Line):
    """A timeline whose records are appended and handed over at a time that the test sets."""

    handed = 0

    @property
    def now_us(self) -> int:
        return self.handed * MS

    def session(self) -> Session:
        return self.aligner.sessions["s"]
