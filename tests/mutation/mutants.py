"""What could be wrong in a module: its text with one thing changed, as programmers do by mistake.

Nothing is changed in what cannot matter, or is only said: annotations, docstrings, decorators, imports, log lines,
messages of errors, f-strings that are no SQL.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    """One change.

    Attributes:
        file: below `ctstate`.
        line: where.
        functions: the lines, as code objects have them, of the function that it is in, or of those that use it.
        start, end: what is replaced, in bytes of the file.
        was, becomes: the change.
    """

    file: str
    line: int
    functions: tuple[int, ...]
    start: int
    end: int
    was: str
    becomes: str

    def text(self, whole: bytes) -> bytes:
        """Return the file's text with the change."""
        return whole[: self.start] + self.becomes.encode() + whole[self.end :]

    def __str__(self) -> str:
        was, becomes = (" ".join(part.split()) for part in (self.was, self.becomes))
        same = len(was) - len(was.lstrip()) if not was else next(
            (n for n, (a, b) in enumerate(zip(was, becomes, strict=False)) if a != b), 0
        )  # fmt: skip
        before = max(0, same - 40)
        return f"ctstate/{self.file}:{self.line}: {was[before:][:90]!r} -> {becomes[before:][:90]!r}"


COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
RECKONED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
METHODS = {"is_": "is_not", "is_not": "is_", "in_": "not_in", "not_in": "in_", "min": "max", "max": "min"}
CONDITIONS = ("where", "and_", "or_", "having", "filter", "with_for_update", "distinct", "desc")
IS_SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|DELETE|WHERE|CASE|ORDER BY|IS NULL|IS NOT NULL|NOT IN)\b")
IN_SQL = {
    r" AND ": " OR ", r" OR ": " AND ", r" IS NULL": " IS NOT NULL", r" IS NOT NULL": " IS NULL",
    r" NOT (?=IN|EXISTS)": " ", r" = ": " <> ", r" <> ": " = ", r" < ": " <= ", r" > ": " >= ", r" <= ": " < ",
    r" >= ": " > ", r"\bmin\(": "max(", r"\bmax\(": "min(", r" DESC\b": "", r" \+ ": " - ",
}  # fmt: skip
Change = tuple[ast.AST, str]


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _operands(node: ast.expr) -> Iterator[str]:
    """Say an expression otherwise."""
    match node:
        case ast.Compare(left, [operator], [right]):
            for other in COMPARED[type(operator)]:
                yield ast.unparse(ast.Compare(left, [other()], [right]))
        case ast.BoolOp(operator, values):
            yield ast.unparse(ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values))
            for n in range(len(values)):
                yield " and ".join(f"({ast.unparse(value)})" for value in values[:n] + values[n + 1 :])
        case ast.BinOp(left, operator, right) if _is_string(left) or _is_string(right):
            yield ast.unparse(left if _is_string(right) else right)
        case ast.BinOp(left, operator, right) if type(operator) in RECKONED:
            yield ast.unparse(ast.BinOp(left, RECKONED[type(operator)](), right))
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield ast.unparse(operand)
        case ast.IfExp(_, body, orelse):
            yield from (ast.unparse(body), ast.unparse(orelse))
        case ast.Constant(bool() as value):
            yield str(not value)
        case ast.Constant(int() as value):  # a fraction is a number of seconds
            yield repr(value + 1)
        case ast.Call(ast.Name(name), arguments) if name in NAMES and arguments:
            yield ast.unparse(ast.Call(ast.Name(NAMES[name]), arguments, node.keywords if name != "sorted" else []))
        case ast.Call(ast.Attribute(value, name), arguments) if name in METHODS:
            yield ast.unparse(ast.Call(ast.Attribute(value, METHODS[name]), arguments, node.keywords))
        case ast.Call(ast.Attribute(value, "order_by" | "limit" as name)):
            yield f"{ast.unparse(value)}.{name}(None)"
        case ast.Call(ast.Attribute(value, name) as called, arguments) if name in CONDITIONS and not arguments:
            yield ast.unparse(value)
    match node:
        case ast.Call(ast.Name(name) | ast.Attribute(_, name) as called, arguments) if name in CONDITIONS:
            for n in range(len(arguments)):
                yield ast.unparse(ast.Call(called, arguments[:n] + arguments[n + 1 :], node.keywords))


def _statement(node: ast.stmt, place: str) -> Iterator[Change]:
    match node:
        case ast.Expr(ast.Call()) | ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Break():
            yield node, "pass"
        case ast.Continue():
            yield node, "break"
        case ast.Assign([ast.Attribute() | ast.Subscript()]) if place != "__init__":
            yield node, "pass"
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Constant):
            yield value, "None"
        case ast.If(test) | ast.While(test):
            yield test, "False"
            if isinstance(node, ast.If):
                yield test, "True"
        case ast.Try(handlers=handlers):
            for handler in handlers:
                caught = handler.type
                for left in caught.elts if isinstance(caught, ast.Tuple) else [caught] if caught else []:
                    others = [kind for kind in getattr(caught, "elts", []) if kind is not left]
                    yield caught, ast.unparse(ast.Tuple(others, ast.Load()))


def _only_said(node: ast.AST) -> bool:
    match node:
        case ast.Expr(ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("log")))):
            return True
        case ast.If(ast.Name("TYPE_CHECKING")) | ast.Assign([ast.Name("__all__")]):
            return True
        case ast.FunctionDef("__repr__" | "__str__"):
            return True
        case ast.Assign([ast.Name(name)], ast.Constant()) if name.endswith("_S"):
            return True  # a number of seconds: one more or less is no mistake
        case ast.Call(ast.Name("String")):
            return True  # so many letters at most
        case ast.Assign([ast.Name(name)]) if not name.isupper() and name.lstrip("_")[:1].isupper():
            return True  # a type
        case ast.BinOp(op=ast.BitOr(), right=ast.Constant(None)):
            return True  # the same
    return False


def _line(node: ast.FunctionDef | ast.Lambda) -> int:
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])


def _users(tree: ast.Module, statement: ast.stmt) -> tuple[int, ...]:
    """Return the functions that use what a statement of the module names, also by way of other names."""
    names: set[str] = set()
    new = {
        node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    while new - names:
        names |= new
        for each in tree.body:
            if isinstance(each, ast.Assign) and names & {
                of.id for of in ast.walk(each) if isinstance(of, ast.Name)
            }:
                new |= {of.id for of in each.targets if isinstance(of, ast.Name)}
    return tuple(
        _line(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and names & {of.id for of in ast.walk(node) if isinstance(of, ast.Name)}
    )


def _changes(
    node: ast.AST, source: str, place: str, function: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], ast.AST, str]]:
    if _only_said(node):
        return
    if isinstance(node, ast.stmt):
        yield from ((function, where, text) for where, text in _statement(node, place))
    if _is_string(node):
        segment = ast.get_source_segment(source, node) or ""
        for pattern, instead in IN_SQL.items() if IS_SQL.search(segment) else ():
            for found in re.finditer(pattern, segment):
                before = segment[: found.start()]
                if before.rfind("SET ") > before.rfind("WHERE ") and found[0] == " = ":
                    continue  # no comparison
                yield function, node, segment[: found.start()] + instead + segment[found.end() :]
        return
    if isinstance(node, ast.expr):
        yield from ((function, node, f"({text})") for text in _operands(node))
    if isinstance(node, ast.Raise):
        return
    inner, skipped = function, {"annotation", "returns", "decorator_list"}
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        inner = (_line(node),)
        place = getattr(node, "name", place)
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name not in skipped:
                yield from _changes(child, source, place, inner)


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """Return every mutant of a file of `ctstate`, in the order of their places."""
    source = (root / "ctstate" / file).read_text()
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    tree = ast.parse(source)
    changes = (change for each in tree.body for change in _changes(each, source, "", _users(tree, each)))
    for functions, node, becomes in changes:
        assert isinstance(node, ast.expr | ast.stmt)
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        was = source.encode()[start:end].decode()
        if was.strip("()") != becomes.strip("()"):
            found.append(Mutant(file, node.lineno, functions, start, end, was, becomes))
    return sorted(found)
