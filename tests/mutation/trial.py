"""Trials: the tests against a mutant, in a child process that is forked after all that is slow to import was imported.

A child that is told nothing of a mutant runs the same tests against the code as it is, so it must come out green.
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
# Those with thousands of sessions or an hour of records take longer than all the others together; admission is not
# among the files that are broken.
SLOW = "not case_04 and not case_12 and not ten_thousand and not test_admit"
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
    """Import what no mutant changes, once for all children."""
    # A failing example is not made smaller: that it fails is all there is to know.
    settings.register_profile(
        "mutation", derandomize=True, deadline=None, database=None, phases=[Phase.explicit, Phase.generate]
    )
    for name in WARM:
        import_module(name)


@dataclass(frozen=True, slots=True)
class Instead(MetaPathFinder, Loader):
    """Loads one module from a text instead of its file."""

    module: str
    file: str
    source: str

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self, origin=self.file) if fullname == self.module else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, self.file, "exec"), module.__dict__)


class Trial(NamedTuple):
    """How a stage went: green where nothing was noticed; too long where it was stopped, which is noticing too."""

    green: bool
    too_long: bool
    took_s: float


def trial(stage: str, mutant: Mutant | None, limit_s: int) -> Trial:
    """The tests of a stage against a mutant, in seconds of the processor: a busy machine kills no mutant."""
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
    """Ends the process: 0 where the tests pass."""
    green = False
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if mutant is not None:
            module = mutant.file.removesuffix(".py").replace("/", ".")
            sys.meta_path.insert(0, Instead(module, mutant.file, mutant.source))
        green = tests()
    finally:
        os._exit(0 if green else 1)


def _stage(stage: str, mutant: Mutant | None) -> bool:
    if STAGES[stage]:
        # One after the other, so that the tests that are not needed are not even collected.
        return all(pytest.main([*OPTIONS, path]) == pytest.ExitCode.OK for path in _paths(STAGES[stage], mutant))
    from tests.simulation.history import play  # here, so that it imports the mutant and not the code as it is

    return not any(play(n, zombies=n % 2 == 1, steps_max=STEPS_MAX).problems for n in range(HISTORIES))


def _paths(folders: tuple[str, ...], mutant: Mutant | None) -> list[str]:
    """The tests that bear the file's name, those of its package, all others but those that cannot notice.

    Fusion and aligner do not import each other.
    """
    file = Path(mutant.file if mutant is not None else "")
    other = {"aligner": "fusion", "fusion": "aligner"}.get(file.parent.name)
    near = [folder for folder in folders if other is None or Path(folder).name != other]
    near.sort(key=lambda folder: Path(folder).name != file.parent.name)
    own = Path("tests/unit", file.parent.name, f"test_{file.name}")
    return [str(own), *near] if str(own.parent) in near and own.exists() else near
