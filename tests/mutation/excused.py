"""Mutants that may live, each with the reason: file, function, the line before and after."""

from __future__ import annotations

from tests.mutation.verdict import Key

EXCUSED: dict[Key, str] = {}
