"""Rules broken on purpose, one at a time, as patches of the product or of the simulated world."""

from __future__ import annotations

import pytest

from services.aligner.alignment import Aligner, Duplicate
from services.aligner.frontier_coverage import FrontierCoverage
from services.aligner.partition import Effects, Partition
from services.aligner.session import NEVER_US, Session, Stream, WatermarkStep
from services.contract import frontier
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason, Rejected
from services.contract.frontier import key
from services.contract.tick import TickEvidence
from services.fusion.batching import Batcher
from tests.simulation import fuser
from tests.simulation.world import World


def commit_the_position(patch: pytest.MonkeyPatch) -> None:
    """What Faust and every automatic acknowledgement do."""
    patch.setattr(Partition, "commit_offsets", lambda self: dict(self.positions))


def do_not_hold_ticks(patch: pytest.MonkeyPatch) -> None:
    """Commit past a tick whose windows are still open."""

    def first_member(self: Aligner, modality: str, position: int) -> int:
        members = [
            chunk.offset
            for session in self.sessions.values()
            for window in session.windows.values()
            for chunk in window.members.get(modality, ())
        ]
        return min(members, default=position)

    patch.setattr(Aligner, "commit_offset", first_member)


def never_cover(patch: pytest.MonkeyPatch) -> None:
    """No frontier records: what went out before the tail is forgotten."""
    patch.setattr(FrontierCoverage, "due_sessions", lambda self, known: [])


def start_without_the_tail(patch: pytest.MonkeyPatch) -> None:
    """Recover from frontier records alone."""
    fresh = World.fresh

    def forgetful(self: World) -> Partition:
        kept, self.broker.windows = self.broker.windows, []
        try:
            return fresh(self)
        finally:
            self.broker.windows = kept

    patch.setattr(World, "fresh", forgetful)


def take_the_newest_evidence(patch: pytest.MonkeyPatch) -> None:
    """Mask by what is known at emission instead of by the record that closed the window."""

    def newest(self: Stream, level_us: int) -> WatermarkStep | None:
        return self.steps[-1] if self.steps and self.watermark_us >= level_us else None

    patch.setattr(Stream, "step_reaching", newest)


def forget_identities_at_once(patch: pytest.MonkeyPatch) -> None:
    """Copies are taken for new chunks."""
    chunk = Aligner.add_chunk

    def forgetful(self: Aligner, *arguments: object) -> object:
        for session in self.sessions.values():
            for lane in session.streams.values():
                lane.known.clear()
                lane.known_until.clear()
                lane.leaving.clear()
        return chunk(self, *arguments)  # type: ignore[arg-type]

    patch.setattr(Aligner, "add_chunk", forgetful)


def hold_only_the_last_tick(patch: pytest.MonkeyPatch) -> None:
    """A tick overtaken by a newer one of its lane is let go."""
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
    """Late is what is late for the slowest modality."""

    def slowest(self: Aligner, session: Session, lane: Stream, modality: str) -> int:
        bound_us = min(each.watermark_us for each in session.streams.values())
        return max(
            bound_us - self.semantics.closing_watermark_us(0, modality),
            self.last_emitted_us.get(session.name, NEVER_US),
        )

    patch.setattr(Aligner, "_closed_us", slowest)


def tick_beyond_the_limit(patch: pytest.MonkeyPatch) -> None:
    """Ticks that reach further than the newest open window."""
    write = World.write_tick

    def further(self: World, modality: str, bounds: dict[str, int], evidence: TickEvidence) -> None:
        write(self, modality, {session: bound + 50_000 for session, bound in bounds.items()}, evidence)

    patch.setattr(World, "write_tick", further)


def take_the_tail_for_covered(patch: pytest.MonkeyPatch) -> None:
    """Windows read back at assignment get no frontier record."""
    fresh = World.fresh

    def covered(self: World) -> Partition:
        partition = fresh(self)
        partition.coverage.uncovered.clear()
        return partition

    patch.setattr(World, "fresh", covered)


def start_without_any_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """Neither frontier records nor the tail: every replayed window is built again, from what is left of it."""
    start_without_the_tail(patch)
    forgetful = World.fresh

    def blank(self: World) -> Partition:
        kept, self.broker.frontiers = self.broker.frontiers, {}
        try:
            return forgetful(self)
        finally:
            self.broker.frontiers = kept

    patch.setattr(World, "fresh", blank)


def commit_before_the_outputs(patch: pytest.MonkeyPatch) -> None:
    """The floor moves past inputs whose windows nobody has acknowledged."""
    act = World.act

    def hasty(self: World, process: Partition, effects: Effects) -> None:
        self.commit(process)
        act(self, process, effects)

    patch.setattr(World, "act", hasty)


def publish_windows_before_refusals(patch: pytest.MonkeyPatch) -> None:
    """A window goes out before the refusals of its own batch: read again after a crash, a conflict is only late."""
    act = World.act

    def hasty(self: World, process: Partition, effects: Effects) -> None:
        act(self, process, Effects(effects.number, windows=effects.windows, payloads=effects.payloads))
        effects.windows, effects.payloads = [], []
        act(self, process, effects)

    patch.setattr(World, "act", hasty)


def keep_identities_until_emission(patch: pytest.MonkeyPatch) -> None:
    """A copy is judged by the windows that are still open, before it is judged by time."""
    judge = Aligner.add_chunk

    def remembering(self: Aligner, chunk: Chunk, handed_us: int) -> object:
        session = self.sessions.get(chunk.session)
        for window in session.windows.values() if session else ():
            for member in window.members.get(chunk.modality, ()):
                if (member.source, member.id, member.t_us, member.duration_us) == chunk.identity:
                    same = member.sha256 == chunk.sha256
                    return Duplicate() if same else Rejected(Reason.CONFLICT, "other bytes"), []
        return judge(self, chunk, handed_us)

    patch.setattr(Aligner, "add_chunk", remembering)


def cover_only_the_old_where_every_floor_is_the_end(patch: pytest.MonkeyPatch) -> None:
    """Where nothing is held, cover what is older than the tail by the clock, and not all."""
    commit, due = World.commit, FrontierCoverage.due_sessions
    now_us = 0

    def timed(self: World, process: Partition) -> None:
        nonlocal now_us
        now_us = self.now_ms * 1000
        commit(self, process)

    patch.setattr(World, "commit", timed)
    patch.setattr(FrontierCoverage, "due_sessions", lambda self, known: due(self, list(known) or [now_us]))


def share_one_frontier_key(patch: pytest.MonkeyPatch) -> None:
    """Owners write a session's frontier under the same key, a paused one over its successor's."""
    patch.setattr(frontier, "key", lambda session, nonce: key(session, "the same"))


def answer_again_what_is_published(patch: pytest.MonkeyPatch) -> None:
    """Fold a final window again that the predictions topic holds already."""
    patch.setattr(Batcher, "_worth", lambda self, *known: True)


def start_folds_from_nothing(patch: pytest.MonkeyPatch) -> None:
    """Take no state out of the predictions topic."""
    patch.setattr(fuser, "state_of", lambda headers, value, digest: None)


def never_look_back(patch: pytest.MonkeyPatch) -> None:
    """Read the predictions topic no further back than the tail."""
    patch.setattr(fuser, "look_back_us", lambda *known: None)
