"""Histories that chance hardly ever plays, written by hand; each returns what was wrong with it."""

from __future__ import annotations

from contextlib import suppress

from services.aligner.idleness import EndOffsets
from services.aligner.partition import Partition
from tests.simulation.broker import EPOCH_US, Sent, record_of
from tests.simulation.history import judged
from tests.simulation.world import CRASHES_MAX, Crash, World

LONG = 1_000  # of downtime, in units; every tail is shorter


class Stage(World):
    """A world in which nothing happens by itself."""

    def __init__(self) -> None:
        super().__init__(0, [], zombies=False)
        self.crashes = CRASHES_MAX
        self.dies_after: tuple[str, int] | None = None

    def maybe_crash(self, chance: float) -> None:
        """Not by chance here: once, when the window is out that was asked for."""
        if self.dies_after in self.broker.moments:
            self.dies_after = None
            raise Crash

    def frame(self, t: int, id: str | None = None, content: int = 0) -> None:
        """A device sends a picture."""
        log = self.broker.media["video"]
        log.append(record_of(Sent(0, "video", "s", id or f"{t} {len(log)}", t, 0, content), len(log), self.now_ms))

    def read(self, process: Partition) -> None:
        """The process reads all there is, in one batch."""
        unread = [(m, record) for m, log in self.broker.media.items() for record in log[process.positions[m] :]]
        self.act(process, process.process(unread, self.now_us))

    def settle(self, process: Partition) -> None:
        """The process reads all there is, and ticks until all its windows are out."""
        while process.aligner.sessions or process.positions != self.broker.ends():
            self.clock += 1
            if process.needs_end_offsets(self.now_us):
                process.set_end_offsets(EndOffsets(self.now_us, self.broker.ends()))
            self.read(process)

    def down(self) -> None:
        """All processes are gone, for longer than the tail; then a new one starts."""
        self.clock += LONG
        self.processes, self.owner = [self.fresh()], 0


# commits at the very ends of the logs ... down for long ... a straggler for a window that was out
def all_is_read_and_we_are_down_for_long() -> list[str]:
    """Where every floor is its end, no record tells the time from which the windows topic is to be read back."""
    stage = Stage()
    stage.frame(0)
    stage.settle(stage.processes[0])
    stage.commit(stage.processes[0])
    stage.down()
    stage.frame(0)
    return list(judged(stage).wrong)


# old     reads 0 | paused ............| tells its frontier: 0
# new             | reads 40, tells 40 |                       down for long, a straggler for 36
def a_paused_owner_writes_its_frontier_last() -> list[str]:
    """A zombie's commit is refused by its broker, its records are not."""
    stage = Stage()
    old = stage.processes[0]
    stage.frame(0)
    stage.settle(old)
    stage.processes, stage.owner = [old, stage.fresh()], 1
    stage.frame(40)
    stage.settle(stage.processes[1])
    stage.commit(stage.processes[1])
    stage.commit(old)
    stage.down()
    stage.frame(36)
    return list(judged(stage).wrong)


# video   0 "x" | 0 "x", other bytes | 40        all in one batch but the first; dies when the window of 0 is out
# others        | silent up to 40
def a_conflict_stands_in_the_batch_that_closes_its_window() -> list[str]:
    """Whoever reads the conflict again finds its window out: it must have been told before."""
    stage = Stage()
    process = stage.processes[0]
    stage.frame(0, "x")
    stage.read(process)
    for modality in ("audio", "text"):
        stage.write_tick(modality, {"s": stage.semantics.closing_watermark_us(EPOCH_US, modality)}, "tick")
    stage.read(process)
    stage.frame(0, "x", content=1)
    stage.frame(40)
    stage.dies_after = "s", EPOCH_US
    with suppress(Crash):
        stage.read(process)
    stage.processes = [stage.fresh()]
    return list(judged(stage).wrong)
