"""Mutants: a source with one small change, such as a slip would make.

Changed are comparisons, arithmetic, `and` and `or`, `not`, numbers and truth values, min and max and their like, returned
values, conditions, `continue` and `break`; statements are left out. Docstrings, messages, annotations and decorators stay.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}
OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
}
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any", "bisect_left": "bisect_right"}
FUNCTIONS["bisect_right"] = "bisect_left"
UNTOUCHED = {"annotation", "returns", "decorator_list"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a file.

    Attributes:
        file: Path of the file.
        id: Names the change by the function that holds it, its kind and its number among the changes of that kind in the
            function, as in `Aligner.add_chunk: < to <= (2)`; rewording a line leaves it as it is.
        before: The changed line.
        after: The line after the change.
        source: The whole source after the change.
    """

    file: str
    id: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str]:
        return self.file, self.id


@dataclass(frozen=True, slots=True)
class _Change:
    """Replace a node by a text; `kind` names the change and `where` the function that holds it."""

    where: tuple[str, ...]
    kind: str
    node: ast.expr | ast.stmt
    text: str


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Return every mutant of a source, without repetitions, in the order of the source."""
    mutants: dict[str, Mutant] = {}
    raw = source.encode()
    lines = raw.splitlines(keepends=True)
    numbers: Counter[str] = Counter()
    for change in _changes(ast.parse(source), ()):
        name = f"{'.'.join(change.where) or 'module'}: {change.kind}"
        numbers[name] += 1
        node = change.node
        start, end = _index(lines, node.lineno, node.col_offset), _index(lines, node.end_lineno, node.end_col_offset)
        first, last = raw.rfind(b"\n", 0, start) + 1, raw.find(b"\n", end)
        text = change.text.encode()
        mutant = Mutant(
            file,
            name if numbers[name] == 1 else f"{name} ({numbers[name]})",
            " ".join(raw[first:last].decode().split()),
            " ".join((raw[first:start] + text + raw[end:last]).decode().split()),
            (raw[:start] + text + raw[end:]).decode(),
        )
        mutants.setdefault(mutant.source, mutant)
    return list(mutants.values())


def _index(lines: list[bytes], line: int | None, column: int | None) -> int:
    assert line is not None
    assert column is not None
    return sum(map(len, lines[: line - 1])) + column


def _changes(node: ast.AST, where: tuple[str, ...]) -> Iterator[_Change]:
    """Yield every change of a node and of the nodes below it."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        where = (*where, node.name)
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.expr):
        yield from (_Change(where, kind, node, text) for kind, text in _expression_changes(node))
    if isinstance(node, ast.stmt):
        yield from (_Change(where, kind, node, text) for kind, text in _statement_changes(node))
    for condition in _conditions(node):
        yield _Change(where, "condition to True", condition, "True")
        yield _Change(where, "condition to False", condition, "False")
    if isinstance(node, ast.While):
        yield _Change(where, "condition to False", node.test, "False")
    for name, field in ast.iter_fields(node):
        if name in UNTOUCHED:
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from _changes(child, where)


def _conditions(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.If | ast.IfExp):
        return [node.test]
    return node.ifs if isinstance(node, ast.comprehension) else []


def _expression_changes(node: ast.expr) -> Iterator[tuple[str, str]]:
    """Yield (kind, replacement) for an expression."""
    match node:
        case ast.Compare(left, [op], [right]):
            sign, replacements = COMPARISONS[type(op)]
            for replacement in replacements:
                yield f"{sign} to {replacement}", f"({ast.unparse(left)} {replacement} {ast.unparse(right)})"
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            sign, replacement = OPERATORS[type(op)]
            yield f"{sign} to {replacement}", f"(({ast.unparse(left)}) {replacement} ({ast.unparse(right)}))"
        case ast.BoolOp(op, values):
            sign, replacement = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
            parts = f" {replacement} ".join(f"({ast.unparse(value)})" for value in values)
            yield f"{sign} to {replacement}", f"({parts})"
        case ast.UnaryOp(ast.Not() | ast.USub() as op, operand):
            yield f"drop {'not' if isinstance(op, ast.Not) else '-'}", f"({ast.unparse(operand)})"
        case ast.Constant(bool() as value):
            yield f"{value} to {not value}", str(not value)
        case ast.Constant(int() | float() as value):
            yield f"{value} to {value + 1}", f"{value + 1}"
            yield f"{value} to {value - 1}", f"({value - 1})"
        case ast.Name(id) if id in FUNCTIONS:
            yield f"{id} to {FUNCTIONS[id]}", FUNCTIONS[id]


def _statement_changes(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield (kind, replacement) for a statement."""
    match node:
        case ast.Return(value) if value is not None and ast.unparse(value) != "None":
            yield "return None", "return None"
        case ast.Expr(ast.Call()) | ast.Delete() | ast.Raise():
            yield "drop statement", "pass"
        case ast.Assign([ast.Attribute() | ast.Subscript()], _):
            yield "drop assignment", "pass"
        case ast.AugAssign(target, op, value):
            yield "drop assignment", "pass"
            if type(op) in OPERATORS:
                sign, replacement = OPERATORS[type(op)]
                yield f"{sign}= to {replacement}=", f"{ast.unparse(target)} {replacement}= {ast.unparse(value)}"
        case ast.Continue():
            yield "continue to break", "break"
        case ast.Break():
            yield "break to continue", "continue"
