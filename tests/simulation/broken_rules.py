"""Patches that break one rule of the product or of the simulated world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

import pytest

from services.aligner.alignment import Aligner, Duplicate
from services.aligner.generations import Generations
from services.aligner.partition import Effects, FrontierCoverage, Partition
from services.aligner.session import NEVER_US, Session, Stream, WatermarkStep
from services.contract import last_emitted_window
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason, Rejected
from services.contract.kafka_record import LogRecord
from services.contract.last_emitted_window import key
from services.contract.quotas import OpenSessions, QuotaLimits
from services.contract.session_reset import GenerationStart, split_generation_id
from services.contract.tick import TickEvidence
from services.fusion.batching import Batcher
from tests.simulation import fuser
from tests.simulation.broker import MODALITIES
from tests.simulation.world import World


def commit_the_position(patch: pytest.MonkeyPatch) -> None:
    """Commit the read position, as Faust and automatic commits do."""
    patch.setattr(Partition, "commit_offsets", lambda self, wall_us: dict(self.positions))


def treat_offsets_as_counts(patch: pytest.MonkeyPatch) -> None:
    """Take the last record's offset + 1 for the position: markers and deleted records are waited for."""
    process = Partition.process

    def counting(
        self: Partition, records: Sequence[tuple[str, LogRecord]], now_us: int, *, positions: object = None
    ) -> Effects:
        return process(self, records, now_us)

    patch.setattr(Partition, "process", counting)


def do_not_count_what_is_deleted(patch: pytest.MonkeyPatch) -> None:
    """Go on after deleted records without a word."""
    patch.setattr(World, "count_lost", lambda self, modality, position: False)


def do_not_hold_ticks(patch: pytest.MonkeyPatch) -> None:
    """Commit past an idle record whose windows are still open."""

    def first_member(self: Aligner, modality: str, position: int) -> int:
        members = [
            chunk.offset
            for session in self.sessions.values()
            for pane in session.streams[modality].panes.values()
            for chunk in pane.chunks.values()
        ]
        return min(members, default=position)

    patch.setattr(Aligner, "commit_offset", first_member)


def never_write_frontiers(patch: pytest.MonkeyPatch) -> None:
    """Write no frontier records: windows before the tail are forgotten."""
    patch.setattr(FrontierCoverage, "due_sessions", lambda self, known: [])


def forget_by_append_times_alone(patch: pytest.MonkeyPatch) -> None:
    """Forget what is stale by the broker's clock, however far that is ahead of ours."""
    commit_offsets = Partition.commit_offsets
    patch.setattr(Partition, "commit_offsets", lambda self, wall_us: commit_offsets(self, 1 << 62))


def start_without_the_tail(patch: pytest.MonkeyPatch) -> None:
    """Recover from frontier records alone."""
    fresh = World.new_owner

    def forgetful(self: World) -> Partition:
        windows, self.broker.windows = self.broker.windows, []
        try:
            return fresh(self)
        finally:
            self.broker.windows = windows

    patch.setattr(World, "new_owner", forgetful)


def let_a_fast_clock_raise_the_watermark(patch: pytest.MonkeyPatch) -> None:
    """Raise the watermark to the time of a chunk, however far it is ahead of its append time."""
    init = Aligner.__init__

    def unlimited(self: Aligner, *arguments: object) -> None:
        init(self, *arguments)  # type: ignore[arg-type]
        self._lead_us = -NEVER_US

    patch.setattr(Aligner, "__init__", unlimited)


def take_the_newest_evidence(patch: pytest.MonkeyPatch) -> None:
    """Set states by what is known at emission instead of by the record that closed the window."""

    def newest(self: Stream, level_us: int) -> WatermarkStep | None:
        return self.steps[-1] if self.steps and self.watermark_us >= level_us else None

    patch.setattr(Stream, "step_reaching", newest)


def forget_identities_at_once(patch: pytest.MonkeyPatch) -> None:
    """Treat duplicates as new chunks."""
    chunk = Aligner.add_chunk

    def forgetful(self: Aligner, *arguments: object) -> object:
        for session in self.sessions.values():
            for lane in session.streams.values():
                lane.shortened.clear()
                for pane in lane.panes.values():
                    pane.chunks = {("", str(c.offset), c.t_us, c.duration_us): c for c in pane.chunks.values()}
        return chunk(self, *arguments)  # type: ignore[arg-type]

    patch.setattr(Aligner, "add_chunk", forgetful)


def hold_only_the_last_tick(patch: pytest.MonkeyPatch) -> None:
    """Release an idle record when a newer one of its stream arrives."""
    tick = Aligner.apply_tick

    def newest(self: Aligner, modality: str, *arguments: object) -> object:
        out = tick(self, modality, *arguments)  # type: ignore[arg-type]
        for session in self.sessions.values():
            lane = session.streams[modality]
            for _, offset in lane.ticks[:-1]:
                self.retained[modality].release(offset)
            lane.ticks = lane.ticks[-1:]
        return out

    patch.setattr(Aligner, "apply_tick", newest)


def judge_by_the_bound_of_the_session(patch: pytest.MonkeyPatch) -> None:
    """Call late only what is late for the slowest modality."""

    judge = Aligner.add_chunk

    def slowest(self: Aligner, chunk: Chunk, handed_us: int) -> object:
        session = self.sessions.get(self.generations.id_at(chunk.session, chunk.modality, chunk.offset))
        if session is not None:
            bound_us = min(stream.watermark_us for stream in session.streams.values())
            emitted_us = self.last_emitted_us.get(session.name, NEVER_US)
            for stream in session.streams.values():
                stream.closed_us = max(bound_us - stream.close_after_us, emitted_us)
        return judge(self, chunk, handed_us)

    patch.setattr(Aligner, "add_chunk", slowest)


def tick_beyond_the_limit(patch: pytest.MonkeyPatch) -> None:
    """Write idle records beyond the newest open window."""
    write = World.write_tick

    def further(self: World, modality: str, bounds: dict[str, int], evidence: TickEvidence) -> None:
        write(self, modality, {session: bound + 50_000 for session, bound in bounds.items()}, evidence)

    patch.setattr(World, "write_tick", further)


def take_the_tail_for_covered(patch: pytest.MonkeyPatch) -> None:
    """Write no frontier record for windows that were read back at assignment."""
    fresh = World.new_owner

    def covered(self: World) -> Partition:
        partition = fresh(self)
        partition.coverage.uncovered.clear()
        return partition

    patch.setattr(World, "new_owner", covered)


def start_without_any_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """Read neither frontier records nor the tail: every replayed window is built again."""
    start_without_the_tail(patch)
    forgetful = World.new_owner

    def blank(self: World) -> Partition:
        frontiers, self.broker.frontiers = self.broker.frontiers, {}
        try:
            return forgetful(self)
        finally:
            self.broker.frontiers = frontiers

    patch.setattr(World, "new_owner", blank)


def commit_before_the_outputs(patch: pytest.MonkeyPatch) -> None:
    """Commit inputs whose windows are not acknowledged yet."""
    act = World.act

    def hasty(self: World, process: Partition, effects: Effects) -> None:
        self.commit(process)
        act(self, process, effects)

    patch.setattr(World, "act", hasty)


def publish_windows_before_rejections(patch: pytest.MonkeyPatch) -> None:
    """Publish a window before the rejections of its batch: after a crash a conflict is classified as late."""
    act = World.act

    def hasty(self: World, process: Partition, effects: Effects) -> None:
        act(self, process, Effects(effects.number, windows=effects.windows, payloads=effects.payloads))
        effects.windows, effects.payloads = [], []
        act(self, process, effects)

    patch.setattr(World, "act", hasty)


def keep_identities_until_emission(patch: pytest.MonkeyPatch) -> None:
    """Judge a duplicate by the open windows before judging it by time."""
    judge = Aligner.add_chunk

    def remembering(self: Aligner, chunk: Chunk, handed_us: int) -> object:
        session = self.sessions.get(chunk.session)
        for pane in session.streams[chunk.modality].panes.values() if session else ():
            if chunk.identity in pane.chunks:
                same = pane.chunks[chunk.identity].sha256 == chunk.sha256
                return Duplicate() if same else Rejected(Reason.CONFLICT, "other bytes"), []
        return judge(self, chunk, handed_us)

    patch.setattr(Aligner, "add_chunk", remembering)


def cover_only_the_old_where_every_floor_is_the_end(patch: pytest.MonkeyPatch) -> None:
    """If nothing is retained, write frontiers only for what is older than the tail, and not for all."""
    commit, due = World.commit, FrontierCoverage.due_sessions
    now_us = 0

    def timed(self: World, process: Partition) -> None:
        nonlocal now_us
        now_us = self.now_ms * 1000
        commit(self, process)

    patch.setattr(World, "commit", timed)
    patch.setattr(FrontierCoverage, "due_sessions", lambda self, known: due(self, list(known) or [now_us]))


def share_one_frontier_key(patch: pytest.MonkeyPatch) -> None:
    """Let all owners write the frontier of a session under one key, so that a paused one overwrites its successor."""
    patch.setattr(last_emitted_window, "key", lambda session, nonce: key(session, "the same"))


def count_quotas_by_append_time(patch: pytest.MonkeyPatch) -> None:
    """Count records per period of append time since the start of the process, of which a restart reads only a part."""
    counted: WeakKeyDictionary[QuotaLimits, dict[object, list[int]]] = WeakKeyDictionary()

    def exceeded(self: QuotaLimits, usage: object, chunk: Chunk) -> str | None:
        period = chunk.session, chunk.modality, chunk.source, chunk.appended_us // 8_000
        counts = counted.setdefault(self, {}).setdefault(period, [0])
        counts[0] += 1
        return "too many records" if counts[0] > 3 else None

    patch.setattr(QuotaLimits, "exceeded", exceeded)
    patch.setattr(QuotaLimits, "may_exceed", lambda self, *sums: self.enabled)


def start_each_process_without_usage(patch: pytest.MonkeyPatch) -> None:
    """Commit past chunks that count against a quota as soon as the first of their windows is emitted."""
    close, nowhere = Aligner._close, 1 << 60

    def hasty(self: Aligner, session: Session) -> object:
        windows = close(self, session)
        for start in session.starts[:1]:
            for modality, stream in session.streams.items():
                pane = stream.panes.get(start)
                if pane is not None and pane.offset != nowhere:
                    self.retained[modality].release(pane.offset)
                    pane.offset = nowhere
                    self.retained[modality]._uses[nowhere] = self.retained[modality]._uses.get(nowhere, 0) + 1
        return windows

    patch.setattr(Aligner, "_close", hasty)


def restart_without_counting_open_sessions(patch: pytest.MonkeyPatch) -> None:
    """Begin inside a period of the quota of open sessions as if nothing of it had been read."""
    patch.setattr(Partition, "count_earlier", lambda self, modality, record: None)


def count_open_sessions_since_the_newest_append_time(patch: pytest.MonkeyPatch) -> None:
    """Let only a later period begin: after a clock that was ahead, everything counts in one period until it is reached."""
    advance = OpenSessions.advance

    def monotonic(self: OpenSessions, appended_us: int) -> None:
        if appended_us >= self._end_us:
            advance(self, appended_us)

    patch.setattr(OpenSessions, "advance", monotonic)


def never_write_generations(patch: pytest.MonkeyPatch) -> None:
    """Commit past resets whose generations are in no record."""
    patch.setattr(Partition, "due_generations", lambda self: [])


def close_old_generations_before_their_reset_is_read(patch: pytest.MonkeyPatch) -> None:
    """Close an old generation after a restart though its log is read again from before the reset."""
    start = Generations.__init__

    def hasty(self: Generations, starts: Iterable[GenerationStart], positions: Mapping[str, int]) -> None:
        start(self, starts, dict.fromkeys(positions, 1 << 60))

    patch.setattr(Generations, "__init__", hasty)


def let_a_reset_act_on_all_logs(patch: pytest.MonkeyPatch) -> None:
    """Take a chunk for the newest generation that is known from any log."""
    at = Generations.id_at

    def newest(self: Generations, session: str, modality: str, offset: int) -> str:
        ids = [at(self, session, m, offset if m == modality else 1 << 60) for m in (*MODALITIES, modality)]
        return max(ids, key=split_generation_id)

    patch.setattr(Generations, "id_at", newest)


def predict_again_what_is_published(patch: pytest.MonkeyPatch) -> None:
    """Predict a final window again that is in the predictions topic already."""
    patch.setattr(Batcher, "_is_useful", lambda self, *known: True)


def start_folds_from_nothing(patch: pytest.MonkeyPatch) -> None:
    """Restore no state from the predictions topic."""
    patch.setattr(fuser, "state_of", lambda headers, value, digest: None)


def never_look_back(patch: pytest.MonkeyPatch) -> None:
    """Read the predictions topic no further back than the tail."""
    patch.setattr(fuser, "look_back_us", lambda *known: None)
