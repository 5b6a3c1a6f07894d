"""What is made of the survivors: explained, unexplained, and excuses that excuse nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.mutation.mutants import Mutant

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Survivors with their reasons, survivors without, and excuses of the files tried that match no survivor."""

    explained: tuple[tuple[Mutant, str], ...]
    unexplained: tuple[Mutant, ...]
    stale: tuple[Key, ...]

    @property
    def good(self) -> bool:
        return not self.unexplained and not self.stale


def judge(survivors: Iterable[Mutant], excuses: Mapping[Key, str], files: Iterable[str]) -> Verdict:
    """files: those whose mutants were tried; excuses for others are not looked at."""
    lived, tried = list(survivors), set(files)
    keys = {mutant.key for mutant in lived}
    return Verdict(
        tuple((mutant, excuses[mutant.key]) for mutant in lived if mutant.key in excuses),
        tuple(mutant for mutant in lived if mutant.key not in excuses),
        tuple(key for key in excuses if key[0] in tried and key not in keys),
    )
