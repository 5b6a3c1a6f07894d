"""The base of errors for people."""

from __future__ import annotations

import copy
import pickle

from services.contract.user_errors import BraidError


def test_error_prints_one_line_for_each_part_that_is_set() -> None:
    assert str(BraidError("Kafka is down.")) == "Kafka is down."
    assert str(BraidError("a\nb", "", "do\n  this")) == "a b\ndo this"
    assert len(str(BraidError("1\n2", "3\n4", "5\n6")).splitlines()) == 3


def test_error_can_be_copied_between_processes() -> None:
    original = BraidError("what", "why", "do")
    for error in (copy.copy(original), pickle.loads(pickle.dumps(original))):
        assert (error.what, error.why, error.do, error.exit_code) == ("what", "why", "do", 1)
