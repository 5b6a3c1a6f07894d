"""The mutation of the pure files can fail: it makes the slips that it says, and an unexplained survivor is told."""

from __future__ import annotations

import ast

import pytest

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.verdict import judge

LITTLE = '''
class Box:
    """A docstring with 1 < 2."""

    @cached(True)
    def put(self, thing: Literal[1], most: int = 3) -> Literal[2]:
        if thing < most and not self.full:
            self.things[thing] = 1.5
            self.count += 1
        return min(thing, most)


def first(things: list[int]) -> int | None:
    for thing in things:
        if thing is None:
            continue
        return thing
    raise ValueError(f"none of {1} things")
'''


def slips() -> set[tuple[str, str, str]]:
    return {(mutant.where, mutant.before, mutant.after) for mutant in mutants_of("box.py", LITTLE)}


def test_a_little_function_is_broken_in_each_of_the_small_ways() -> None:
    condition = "if thing < most and not self.full:"
    assert {after for where, before, after in slips() if before == condition} == {
        "if True:",
        "if False:",
        "if ((thing < most) or (not self.full)):",
        "if (thing <= most) and not self.full:",
        "if (thing >= most) and not self.full:",
        "if thing < most and (self.full):",
    }
    assert {after for where, before, after in slips() if where == "Box.put" and before != condition} == {
        "def put(self, thing: Literal[1], most: int = 4) -> Literal[2]:",
        "def put(self, thing: Literal[1], most: int = (2)) -> Literal[2]:",
        "pass",
        "self.things[thing] = 2.5",
        "self.things[thing] = (0.5)",
        "self.count -= 1",
        "self.count += 2",
        "self.count += (0)",
        "return None",
        "return max(thing, most)",
    }
    assert {after for where, _, after in slips() if where == "first"} == {
        "if True:",
        "if False:",
        "if (thing is not None):",
        "break",
        "return None",
        "pass",
    }


def test_docstrings_annotations_decorators_and_messages_are_left_alone() -> None:
    assert not [before for _, before, _ in slips() if "docstring" in before or before.startswith("@")]
    assert "pass" in {after for _, before, after in slips() if before.startswith("raise")}
    assert not [after for _, before, after in slips() if before.startswith("raise") and after != "pass"]


def test_every_mutant_is_another_program_that_compiles() -> None:
    found = mutants_of("box.py", LITTLE)
    assert len({ast.dump(ast.parse(mutant.source)) for mutant in found}) == len(found) > 20
    assert ast.dump(ast.parse(LITTLE)) not in {ast.dump(ast.parse(mutant.source)) for mutant in found}


SURVIVOR = Mutant("floor.py", "Held.hold", "x < 1", "x <= 1", "")


def test_a_survivor_without_a_reason_is_told() -> None:
    verdict = judge([SURVIVOR], {}, ["floor.py"])
    assert not verdict.good
    assert verdict.unexplained == (SURVIVOR,)


def test_a_survivor_with_a_reason_may_live() -> None:
    verdict = judge([SURVIVOR], {SURVIVOR.key: "the same"}, ["floor.py"])
    assert verdict.good
    assert verdict.explained == ((SURVIVOR, "the same"),)


@pytest.mark.parametrize(("tried", "stale"), [("floor.py", 1), ("align.py", 0)])
def test_a_reason_for_what_does_not_survive_is_told_where_its_file_was_tried(tried: str, stale: int) -> None:
    verdict = judge([], {SURVIVOR.key: "the same"}, [tried])
    assert verdict.good is not bool(stale)
    assert len(verdict.stale) == stale
