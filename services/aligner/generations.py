"""The generations of sessions that were reset: to which one a record belongs, and which ones a log has closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.contract.session_reset import GenerationStart, SessionReset, generation_id, split_generation_id


class Generations:
    """Where generations begin in the logs of one partition number; few sessions are ever reset.

    Args:
        starts: What is known of earlier runs.
        positions: By modality, the offset from which on the log is read: resets before it were applied.

    Attributes:
        unrecorded: Starts that are in no record yet.
    """

    def __init__(self, starts: Iterable[GenerationStart], positions: Mapping[str, int]) -> None:
        self.unrecorded: list[GenerationStart] = []
        # By session and modality, in the order of the log.
        self._starts: dict[str, dict[str, list[GenerationStart]]] = {}
        self._applied: set[GenerationStart] = set()
        for start in sorted(starts, key=lambda start: start.offset):
            self._of_log(start.session, start.modality).append(start)
            if start.offset < positions.get(start.modality, 0):
                self._applied.add(start)

    def id_at(self, session: str, modality: str, offset: int) -> str:
        """Return the id of the generation to which a record of this session belongs."""
        if session not in self._starts:
            return session
        starts = self._starts[session].get(modality, ())
        return generation_id(session, max((s.generation for s in starts if s.offset < offset), default=0))

    def ids_of(self, session: str) -> list[str]:
        """Return the ids of all known generations of a session, the oldest first."""
        by_modality = self._starts.get(session, {})
        numbers = {start.generation for starts in by_modality.values() for start in starts}
        return [generation_id(session, number) for number in sorted({0, *numbers})]

    def begin(self, modality: str, reset: SessionReset, offset: int, appended_us: int) -> bool:
        """Begin a generation in a log. Return False for a repeated reset: it names none that is newer than the last one."""
        starts = self._of_log(reset.session, modality)
        start = next((s for s in starts if s.offset == offset), None)
        if start is None:
            if starts and starts[-1].generation >= reset.generation:
                return False
            start = GenerationStart(reset.session, reset.generation, modality, offset, appended_us)
            starts.append(start)
            self.unrecorded.append(start)
        self._applied.add(start)
        return True

    def closed_logs(self, id: str) -> list[tuple[str, int]]:
        """Return the modalities in whose logs a generation is over, with the append time (us) of the reset that ended it."""
        session, generation = split_generation_id(id)
        if session not in self._starts:
            return []
        ends = {
            modality: next((s for s in starts if s.generation > generation and s in self._applied), None)
            for modality, starts in self._starts[session].items()
        }
        return [(modality, end.appended_us) for modality, end in ends.items() if end is not None]

    def _of_log(self, session: str, modality: str) -> list[GenerationStart]:
        return self._starts.setdefault(session, {}).setdefault(modality, [])
