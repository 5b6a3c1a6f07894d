"""Mutants: a source with one small thing changed, as a slip of the hand or of the mind would change it.

Changed: comparisons, arithmetic, `and` and `or`, `not`, numbers and truth values, min and max and their like, what is
returned, conditions, loops that go on or end, and statements that are left out. Never touched: docstrings, messages,
annotations and decorators.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
COMPUTED: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}
NAMED = {"min": "max", "max": "min", "any": "all", "all": "any", "bisect_left": "bisect_right"}
NAMED["bisect_right"] = "bisect_left"
UNTOUCHED = {"annotation", "returns", "decorator_list"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the file and the qualified name of what it is in, the changed text before and after, the source."""

    file: str
    where: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it as long as its own line stays as it is, wherever that stands."""
        return self.file, self.where, self.before, self.after


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a source, each text once, in the order of the source."""
    found: dict[str, Mutant] = {}
    lines = source.encode().splitlines(keepends=True)
    for where, node, changed in _changes(ast.parse(source), ()):
        start, end = _at(lines, node.lineno, node.col_offset), _at(lines, node.end_lineno, node.end_col_offset)
        raw = b"".join(lines)
        mutated = raw[:start] + changed.encode() + raw[end:]
        first, last = raw.rfind(b"\n", 0, start) + 1, raw.find(b"\n", end)
        before, after = raw[first:last].decode(), (raw[first:start] + changed.encode() + raw[end:last]).decode()
        mutant = Mutant(file, ".".join(where), " ".join(before.split()), " ".join(after.split()), mutated.decode())
        found.setdefault(mutant.source, mutant)
    return list(found.values())


def _at(lines: list[bytes], line: int | None, column: int | None) -> int:
    assert line is not None
    assert column is not None
    return sum(map(len, lines[: line - 1])) + column


def _changes(node: ast.AST, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ast.expr | ast.stmt, str]]:
    """(where, node to replace, text instead of it), for all below a node."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        where = (*where, node.name)
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.expr):
        yield from ((where, node, text) for text in _expressions(node))
    if isinstance(node, ast.stmt):
        yield from ((where, node, text) for text in _statements(node))
    for condition in _conditions(node):
        yield where, condition, "True"
        yield where, condition, "False"
    if isinstance(node, ast.While):
        yield where, node.test, "False"
    for name, field in ast.iter_fields(node):
        if name in UNTOUCHED:
            continue
        for below in field if isinstance(field, list) else [field]:
            if isinstance(below, ast.AST):
                yield from _changes(below, where)


def _conditions(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.If | ast.IfExp):
        return [node.test]
    return node.ifs if isinstance(node, ast.comprehension) else []


def _expressions(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Compare(left, [op], [right]):
            for instead in COMPARED[type(op)]:
                yield f"({ast.unparse(left)} {instead} {ast.unparse(right)})"
        case ast.BinOp(left, op, right) if type(op) in COMPUTED:
            yield f"(({ast.unparse(left)}) {COMPUTED[type(op)]} ({ast.unparse(right)}))"
        case ast.BoolOp(op, values):
            instead = " or " if isinstance(op, ast.And) else " and "
            yield "(" + instead.join(f"({ast.unparse(value)})" for value in values) + ")"
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield f"({ast.unparse(operand)})"
        case ast.Constant(bool() as value):
            yield str(not value)
        case ast.Constant(int() | float() as value):
            yield f"{value + 1}"
            yield f"({value - 1})"
        case ast.Name(id) if id in NAMED:
            yield NAMED[id]


def _statements(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.Return(value) if value is not None and ast.unparse(value) != "None":
            yield "return None"
        case ast.Expr(ast.Call()) | ast.Delete() | ast.Raise():
            yield "pass"
        case ast.Assign([ast.Attribute() | ast.Subscript()], _):
            yield "pass"
        case ast.AugAssign(target, op, value):
            yield "pass"
            if type(op) in COMPUTED:
                yield f"{ast.unparse(target)} {COMPUTED[type(op)]}= {ast.unparse(value)}"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"
