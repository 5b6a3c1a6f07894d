"""The logic of the aligner and the fusion worker in virtual time, compared with the oracle; a seed is a history."""

from __future__ import annotations

import pytest

from tests.simulation.history import play, play_many

SEEDS = 500


@pytest.mark.parametrize("zombies", [False, True], ids=["crashes", "crashes and zombies"])
def test_every_history_ends_with_the_windows_of_its_logs(zombies: bool) -> None:
    crashes = repeats = early = 0
    for history in play_many(range(SEEDS), zombies=zombies):
        assert not history.problems, f"make simulate SEED={history.seed}: {history.problems[:3]}"
        crashes += history.crashes
        repeats += history.repeats
        early += history.early
    # Histories without crashes, repeats and early windows would prove nothing.
    assert crashes > SEEDS
    assert repeats > SEEDS if zombies else repeats > 0
    assert early > SEEDS


def test_a_seed_gives_one_history() -> None:
    assert play(7, zombies=True) == play(7, zombies=True)
    assert play(7, zombies=True) != play(8, zombies=True)
