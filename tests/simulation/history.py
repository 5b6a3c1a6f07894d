"""Play one history or very many on all cores, and collect the problems of each."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from tests.simulation.plans import random_plan
from tests.simulation.verdict import find_problems
from tests.simulation.world import World

SEEDS_A_TASK = 20


@dataclass(frozen=True, slots=True)
class History:
    """The history of a seed: its problems, and how much happened in it."""

    seed: int
    zombies: bool
    problems: tuple[str, ...]
    windows: int
    crashes: int
    repeats: int
    early: int


def play(seed: int, *, zombies: bool, steps_max: int = 60_000) -> History:
    """Play the history of a seed, which is always the same."""
    return play_world(World(seed, random_plan(random.Random(seed)), zombies=zombies), steps_max)


def play_world(world: World, steps_max: int = 60_000) -> History:
    """Play a world to its end and compare the outputs with the oracle's reading of its logs."""
    wrong = find_problems(world) if world.run(steps_max) else ["commits got stuck"]
    finals = [(w.session, w.start_us) for _, w in world.broker.windows if w.final]
    early = sum(not w.final for _, w in world.broker.windows)
    windows = len(set(finals))
    return History(world.seed, world.zombies, tuple(wrong), windows, world.crashes, len(finals) - windows, early)


def play_many(seeds: Iterable[int], *, zombies: bool) -> Iterator[History]:
    """Play histories on all cores, in order of their seeds."""
    seeds = list(seeds)
    tasks = [(seeds[at : at + SEEDS_A_TASK], zombies) for at in range(0, len(seeds), SEEDS_A_TASK)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for found in pool.map(_play_some, tasks):
            yield from found


def _play_some(task: tuple[list[int], bool]) -> list[History]:
    seeds, zombies = task
    return [play(seed, zombies=zombies) for seed in seeds]
