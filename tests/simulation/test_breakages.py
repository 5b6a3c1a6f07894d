"""The simulation can fail: each rule broken on purpose is caught by it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from services.aligner.align import Aligner
from services.aligner.coverage import Coverage
from services.aligner.partition import Effects, Partition
from services.aligner.session import NEVER_US, LaneState, Raise, Session
from services.contract.tick import Silence
from tests.simulation.plans import random_plan
from tests.simulation.verdict import complaints
from tests.simulation.world import World

SEEDS = 300


def commit_the_position(patch: pytest.MonkeyPatch) -> None:
    """What Faust and every automatic acknowledgement do."""
    patch.setattr(Partition, "floors", lambda self: dict(self.positions))


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

    patch.setattr(Aligner, "floor", first_member)


def never_cover(patch: pytest.MonkeyPatch) -> None:
    """No frontier records: what went out before the tail is forgotten."""
    patch.setattr(Coverage, "due", lambda self, known: [])


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

    def newest(self: LaneState, level_us: int) -> Raise | None:
        return self.raises[-1] if self.raises and self.bound_us >= level_us else None

    patch.setattr(LaneState, "crossing", newest)


def forget_identities_at_once(patch: pytest.MonkeyPatch) -> None:
    """Copies are taken for new chunks."""
    chunk = Aligner.chunk

    def forgetful(self: Aligner, *arguments: object) -> object:
        for session in self.sessions.values():
            for lane in session.lanes.values():
                lane.known.clear()
                lane.forget.clear()
        return chunk(self, *arguments)  # type: ignore[arg-type]

    patch.setattr(Aligner, "chunk", forgetful)


def hold_only_the_last_tick(patch: pytest.MonkeyPatch) -> None:
    """A tick overtaken by a newer one of its lane is let go."""
    tick = Aligner.tick

    def newest(self: Aligner, modality: str, *arguments: object) -> object:
        out = tick(self, modality, *arguments)  # type: ignore[arg-type]
        for session in self.sessions.values():
            lane = session.lanes[modality]
            for _, offset in lane.ticks[:-1]:
                self.held[modality].release(offset)
            lane.ticks = lane.ticks[-1:]
        return out

    patch.setattr(Aligner, "tick", newest)


def judge_by_the_bound_of_the_session(patch: pytest.MonkeyPatch) -> None:
    """Late is what is late for the slowest modality."""

    def slowest(self: Aligner, session: Session, lane: LaneState, start_us: int, modality: str) -> bool:
        bound_us = min(each.bound_us for each in session.lanes.values())
        frontier_us = self.frontiers.get(session.name, NEVER_US)
        return bound_us >= self.semantics.close_us(start_us, modality) or start_us <= frontier_us

    patch.setattr(Aligner, "_closed", slowest)


def tick_beyond_the_limit(patch: pytest.MonkeyPatch) -> None:
    """Ticks that reach further than the newest open window."""
    write = World._write_tick

    def further(self: World, modality: str, bounds: dict[str, int], evidence: Silence) -> None:
        write(self, modality, {session: bound + 50_000 for session, bound in bounds.items()}, evidence)

    patch.setattr(World, "_write_tick", further)


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
    act = World._act

    def hasty(self: World, process: Partition, effects: Effects) -> None:
        self._commit(process)
        act(self, process, effects)

    patch.setattr(World, "_act", hasty)


@pytest.mark.parametrize(
    "broken",
    [
        start_without_any_checkpoint,
        commit_before_the_outputs,
        hold_only_the_last_tick,
        judge_by_the_bound_of_the_session,
        tick_beyond_the_limit,
        take_the_tail_for_covered,
        commit_the_position,
        do_not_hold_ticks,
        never_cover,
        start_without_the_tail,
        take_the_newest_evidence,
        forget_identities_at_once,
    ],
    ids=lambda broken: broken.__name__,
)
def test_a_broken_rule_is_caught(broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    for seed in range(SEEDS):
        world = World(seed, random_plan(random.Random(seed)), zombies=False)
        if not world.run(steps_max=4_000) or complaints(world):
            return
    raise AssertionError(f"{broken.__name__} went unnoticed over {SEEDS} histories")
