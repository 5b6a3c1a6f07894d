"""The mutation test: its mutants are the small mistakes that it promises, and a survivor needs a reason."""

from __future__ import annotations

import ast

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.verdict import judge

SOURCE = '''
class Box:
    """A docstring with 1 < 2."""

    @cached(True)
    def put(self, item: Literal[1], most: int = 3) -> Literal[2]:
        if item < most and not self.full:
            self.items[item] = 1.5
            self.count += 1
        return min(item, most)
'''
CONDITION = "if item < most and not self.full:"
SURVIVOR = Mutant("floor.py", "Floor.raise_to: < to <=", "x < 1", "x <= 1", "")


def test_a_condition_and_a_statement_are_broken_in_each_small_way() -> None:
    mutants = {(mutant.before == CONDITION, mutant.after) for mutant in mutants_of("box.py", SOURCE)}
    assert {after for of_condition, after in mutants if of_condition} == {
        "if True:",
        "if False:",
        "if ((item < most) or (not self.full)):",
        "if (item <= most) and not self.full:",
        "if (item >= most) and not self.full:",
        "if item < most and (self.full):",
    }
    # Docstrings, annotations and decorators stay as they are.
    assert {after for of_condition, after in mutants if not of_condition} == {
        "def put(self, item: Literal[1], most: int = 4) -> Literal[2]:",
        "def put(self, item: Literal[1], most: int = (2)) -> Literal[2]:",
        "pass",
        "self.items[item] = 2.5",
        "self.items[item] = (0.5)",
        "self.count -= 1",
        "self.count += 2",
        "self.count += (0)",
        "return None",
        "return max(item, most)",
    }


def test_the_id_of_a_mutant_names_the_function_and_the_change_and_not_the_words_of_the_line() -> None:
    ids = [mutant.id for mutant in mutants_of("box.py", SOURCE)]
    assert len(set(ids)) == len(ids)
    assert {"Box.put: < to <=", "Box.put: condition to True", "Box.put: drop not", "Box.put: += to -="} <= set(ids)
    reworded = SOURCE.replace("item < most", "number < largest")
    assert [mutant.id for mutant in mutants_of("box.py", reworded)] == ids


def test_every_mutant_is_another_program_that_compiles() -> None:
    mutants = mutants_of("box.py", SOURCE)
    programs = {ast.dump(ast.parse(source)) for source in (SOURCE, *(mutant.source for mutant in mutants))}
    assert len(programs) == len(mutants) + 1


def test_a_survivor_needs_a_reason_and_a_reason_needs_a_survivor() -> None:
    assert judge([SURVIVOR], {}, ["floor.py"]).unexplained == (SURVIVOR,)
    assert judge([SURVIVOR], {SURVIVOR.key: "the same"}, ["floor.py"]).passed
    assert judge([], {SURVIVOR.key: "the same"}, ["floor.py"]).stale == (SURVIVOR.key,)
    assert judge([], {SURVIVOR.key: "the same"}, ["align.py"]).passed
