"""Trials: run the tests against a mutant in a child process, forked after the slow imports.

A child without a mutant runs the same tests against the unchanged code, and must pass.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from hypothesis import Phase, settings

from tests.mutation.mutants import Mutant

WARM = (
    "aiokafka.partitioner",
    "cloudevents.core.bindings.kafka",
    "hypothesis.strategies",
    "numpy",
    "pydantic_settings",
)
HISTORIES, STEPS_MAX = 150, 4_000
# Tests with thousands of sessions or an hour of records take longer than all others together; admission is not mutated.
SLOW = "not case_04 and not case_12 and not ten_thousand and not test_admission.py"
STAGES: dict[str, tuple[str, ...]] = {
    "unit tests": ("tests/unit/aligner", "tests/unit/fusion", "tests/unit/contract", "tests/unit/offline"),
    "cases": ("tests/cases",),
    "simulation": (),
    "properties": ("tests/property",),
}
OPTIONS = [
    "-x",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:valkey",
    "--hypothesis-profile=mutation",
    "--assert=plain",
    "-k",
    SLOW,
]


def warm_up() -> None:
    """Import the modules that no mutant changes, once for all children."""
    # Failing examples are not shrunk: only the failure matters.
    settings.register_profile(
        "mutation", derandomize=True, deadline=None, database=None, phases=[Phase.explicit, Phase.generate]
    )
    for name in WARM:
        import_module(name)


@dataclass(frozen=True, slots=True)
class MutantImporter(MetaPathFinder, Loader):
    """Load one module from a text instead of its file."""

    module: str
    file: str
    source: str

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self, origin=self.file) if fullname == self.module else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, self.file, "exec"), module.__dict__)


class Trial(NamedTuple):
    """The result of a stage: green if all tests pass; too long if it was stopped, which kills the mutant too."""

    green: bool
    too_long: bool
    took_s: float


def trial(stage: str, mutant: Mutant | None, limit_s: int) -> Trial:
    """Run the tests of a stage against a mutant. The limit is in CPU seconds, so that a busy machine kills no mutant."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
        signal.alarm(60 + 20 * limit_s)  # for a mutant that sleeps
        _run(lambda: _stage(stage, mutant), mutant)
    _, status, used = os.wait4(child, 0)
    too_long = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)
    return Trial(status == 0, too_long, used.ru_utime + used.ru_stime)


def _run(tests: Callable[[], bool], mutant: Mutant | None) -> None:
    """Run the tests and end the process, with 0 if they pass."""
    green = False
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if mutant is not None:
            module = mutant.file.removesuffix(".py").replace("/", ".")
            sys.meta_path.insert(0, MutantImporter(module, mutant.file, mutant.source))
        green = tests()
    finally:
        os._exit(0 if green else 1)


def _stage(stage: str, mutant: Mutant | None) -> bool:
    if STAGES[stage]:
        # One path after the other, so that after a failure the rest is not even collected.
        return all(pytest.main([*OPTIONS, path]) == pytest.ExitCode.OK for path in _paths(STAGES[stage], mutant))
    from tests.simulation.history import play  # imported here, so that it imports the mutant

    return not any(play(n, zombies=n % 2 == 1, steps_max=STEPS_MAX).problems for n in range(HISTORIES))


def _paths(folders: tuple[str, ...], mutant: Mutant | None) -> list[str]:
    """Return the tests named like the file, then those of its package, then all others that can notice.

    Fusion and aligner do not import each other, so the tests of one cannot notice a mutant of the other.
    """
    file = Path(mutant.file if mutant is not None else "")
    other = {"aligner": "fusion", "fusion": "aligner"}.get(file.parent.name)
    near = [folder for folder in folders if other is None or Path(folder).name != other]
    near.sort(key=lambda folder: Path(folder).name != file.parent.name)
    own = Path("tests/unit", file.parent.name, f"test_{file.name}")
    return [str(own), *near] if str(own.parent) in near and own.exists() else near
