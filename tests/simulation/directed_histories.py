"""Histories written by hand, because random ones hardly ever contain them; each returns its problems."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from services.aligner.idleness import EndOffsets
from services.aligner.partition import Partition
from tests.simulation.broker import EPOCH_US, SHARED_CAMERA, UNIT_US, SentRecord, record_of
from tests.simulation.history import play_world
from tests.simulation.world import AHEAD, CRASHES_MAX, QUOTAS, Crash, World, semantics

LONG = 1_000  # downtime in units, longer than every tail


class Stage(World):
    """A world in which nothing happens by itself."""

    def __init__(self) -> None:
        super().__init__(0, [], zombies=False)
        self.crashes = CRASHES_MAX
        self.jumps = False
        self.dies_after: tuple[str, int] | None = None

    def maybe_crash(self, chance: float) -> None:
        """Crash once, when the chosen window has been published."""
        if self.dies_after in self.broker.moments:
            self.dies_after = None
            raise Crash

    def frame(self, t: int, id: str | None = None, content: int = 0) -> None:
        """Send a frame."""
        log = self.broker.media["video"]
        sent = SentRecord(0, "video", "s", id or f"{t} {log.end}", t, 0, content)
        log.append(partial(record_of, sent, timestamp=self.now_ms))

    def read(self, process: Partition) -> None:
        """Let the process read everything in one batch."""
        unread = [
            (m, record)
            for m, log in self.broker.media.items()
            for record in log.fetch(process.positions[m], len(log.records) + 1)[0]
        ]
        self.act(process, process.process(unread, self.now_us, positions=self.broker.ends()))

    def settle(self, process: Partition) -> None:
        """Let the process read everything and write idle records until all its windows are published."""
        while process.aligner.sessions or process.positions != self.broker.ends():
            self.clock += 1
            if process.needs_end_offsets(self.now_us):
                process.set_end_offsets(EndOffsets(self.now_us, self.broker.ends()))
            self.read(process)

    def down(self) -> None:
        """Stop all processes for longer than the tail, then start a new one."""
        self.clock += LONG
        self.processes, self.owner = [self.new_owner()], 0


# commits at the ends of the logs ... long downtime ... a late record for a published window
def all_is_read_and_we_are_down_for_long() -> list[str]:
    """If every commit is at the end of its log, no record gives the time from which to read back the windows topic."""
    stage = Stage()
    stage.frame(0)
    stage.settle(stage.processes[0])
    stage.commit(stage.processes[0])
    stage.down()
    stage.frame(0)
    return list(play_world(stage).problems)


# broker  right ........... | days ahead | right .......
# s       0 "x", its windows |            | 0 "x" again: late, for its windows are out
# other                      | too old    |
def the_brokers_clock_is_ahead_for_one_record_of_each_log() -> list[str]:
    """The aligner must not forget a session because of append times alone."""
    stage = Stage()
    stage.semantics = semantics(stale_after_us=700 * UNIT_US)
    stage.processes = [stage.new_owner()]
    stage.frame(0, "x")
    stage.settle(stage.processes[0])
    stage.commit(stage.processes[0])
    stage.ahead = AHEAD
    for modality, log in stage.broker.media.items():
        sent = SentRecord(0, modality, "other", "1", 0, 1)
        log.append(partial(record_of, sent, timestamp=stage.now_ms))
    stage.read(stage.processes[0])
    stage.commit(stage.processes[0])
    stage.ahead = 0
    stage.frame(0, "x")
    stage.settle(stage.processes[0])
    return list(play_world(stage).problems)


# broker  ahead    | right
# shared  0 of "s" | 0 of "other": a period of its own, in which it is the first session
def the_brokers_clock_was_ahead_when_a_source_began() -> list[str]:
    """A period of the quota of open sessions ends when the append times go back, too."""
    stage = Stage()
    stage.semantics = semantics(quotas=QUOTAS)
    stage.processes = [stage.new_owner()]
    for session, stage.ahead in (("s", AHEAD), ("other", 0)):
        sent = SentRecord(0, "video", session, "1", 0, camera=SHARED_CAMERA)
        stage.broker.media["video"].append(partial(record_of, sent, timestamp=stage.now_ms))
    stage.read(stage.processes[0])
    return list(play_world(stage).problems)


# old     reads 0 | paused ............| writes its frontier: 0
# new             | reads 40, writes 40 |                      long downtime, a late record for 36
def a_paused_owner_writes_its_frontier_last() -> list[str]:
    """The broker rejects the commit of a zombie, but not its records."""
    stage = Stage()
    old = stage.processes[0]
    stage.frame(0)
    stage.settle(old)
    stage.processes, stage.owner = [old, stage.new_owner()], 1
    stage.frame(40)
    stage.settle(stage.processes[1])
    stage.commit(stage.processes[1])
    stage.commit(old)
    stage.down()
    stage.frame(36)
    return list(play_world(stage).problems)


# video   0 "x" | 0 "x", other bytes | 40        all but the first in one batch; crashes when the window of 0 is published
# others        | idle up to 40
def a_conflict_stands_in_the_batch_that_closes_its_window() -> list[str]:
    """After the restart the window of the conflict is already published: the conflict must have been reported before."""
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
    stage.processes = [stage.new_owner()]
    return list(play_world(stage).problems)
