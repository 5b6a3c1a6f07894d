"""The verdict on survivors: excused, unexplained, and excuses that match no survivor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.mutation.mutants import Mutant

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MutationVerdict:
    """Survivors with a reason, survivors without one, and excuses of the tested files that match no survivor."""

    explained: tuple[tuple[Mutant, str], ...]
    unexplained: tuple[Mutant, ...]
    stale: tuple[Key, ...]

    @property
    def passed(self) -> bool:
        return not self.unexplained and not self.stale


def judge(survivors: Iterable[Mutant], excuses: Mapping[Key, str], files: Iterable[str]) -> MutationVerdict:
    """Judge survivors; only excuses for the tested files count."""
    survivors, tested = list(survivors), set(files)
    keys = {mutant.key for mutant in survivors}
    return MutationVerdict(
        tuple((mutant, excuses[mutant.key]) for mutant in survivors if mutant.key in excuses),
        tuple(mutant for mutant in survivors if mutant.key not in excuses),
        tuple(key for key in excuses if key[0] in tested and key not in keys),
    )
