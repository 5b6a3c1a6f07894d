"""The whole aligner logic in virtual time, against the oracle; one seed is one history."""

from __future__ import annotations

import os
import random

import pytest

from tests.simulation.plans import random_plan
from tests.simulation.verdict import complaints
from tests.simulation.world import World

SEEDS = int(os.environ.get("BRAID_TEST_SEEDS", "300"))


@pytest.mark.parametrize("zombies", [False, True], ids=["crashes", "crashes and zombies"])
def test_every_history_ends_in_what_its_logs_say(zombies: bool) -> None:
    crashes = repeats = early = 0
    for seed in range(SEEDS):
        world = World(seed, random_plan(random.Random(seed)), zombies=zombies)
        ended = world.run()
        assert ended, f"seed {seed}: the floor got stuck"
        assert not (bad := complaints(world)), f"seed {seed}: {bad}"
        crashes += world.crashes
        finals = [(w.session, w.start_us) for _, w in world.broker.windows if w.final]
        repeats += len(finals) - len(set(finals))
        early += sum(not w.final for _, w in world.broker.windows)
    # A suite in which nothing was interrupted, repeated or answered early would prove nothing.
    assert crashes > SEEDS
    # Only a zombie sends a window twice: who recovers reads back what went out.
    assert repeats > SEEDS if zombies else repeats == 0
    assert early > SEEDS
