"""The house: which room knows which, where SQL stands, how long a module is. docs/architecture.md says why."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.house import MAY_KNOW, MODULES, PACKAGE, imports, room

MOST_LINES = 450

SQL_OF_THEIR_OWN = {
    "ctstate.sandbox.store": "the sandbox keeps its world in a file of its own",
    "ctstate.formats.camtrap_dp": "sorts a package's tables in a scratch database that goes with it",
    "ctstate.formats.image_folder": "sorts images by time in a scratch database that goes with it",
    "ctstate.verbs.doctor.locks": "tries SQLite's locks on a scratch file, from two processes and two nodes",
}
"""Modules outside the ledger that speak SQL, but never to the ledger."""

_SQL = re.compile(
    r"\b(SELECT\b.+\bFROM|INSERT\s+(OR \w+ )?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM"
    r"|CREATE\s+(TEMP\s+)?(TABLE|INDEX|VIEW)|BEGIN IMMEDIATE|PRAGMA)\b",
    re.DOTALL,
)


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("ctstate", "ctstate.__main__")])
def test_a_room_knows_only_what_lies_below(module: str) -> None:
    allowed = {*MAY_KNOW[room(module)], room(module), ""}
    assert {name for name in imports(module) if room(name) not in allowed} == set()


def test_the_rooms_are_there() -> None:
    """Else the test above would pass on nothing."""
    assert {room(module) for module in MODULES} - {"", "__main__"} == MAY_KNOW.keys()
    assert "ctstate.ledger" in imports("ctstate.verbs.manifest")
    assert "ctstate.verbs.manifest" in imports("ctstate.commands.manifest")


def test_no_circle_of_modules() -> None:
    """What is imported when it is run; a module and the package that it is of apart."""
    arrows = {name: {to for to in imports(name, when_run=True) if to in MODULES and to != name} for name in MODULES}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in done:
            return
        for to in sorted(arrows[name]):
            if not name.startswith(f"{to}."):  # a module and the package that it is of
                walk(to, (*way, name))
        done.add(name)

    for name in arrows:
        walk(name, ())


@pytest.mark.parametrize("module", MODULES)
def test_sql_stands_in_the_ledger_only(module: str) -> None:
    if room(module) == "ledger" or module in SQL_OF_THEIR_OWN:
        return
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            found += [
                f"line {node.lineno}: imports {n}" for n in names if n.split(".")[0] in ("sqlalchemy", "sqlite3")
            ]
            found += [f"line {node.lineno}: imports {n}" for n in names if n == "ctstate.ledger.schema"]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            if _SQL.search(node.value) and "ctstate sql" not in node.value:  # advice to a person may quote some
                found.append(f"line {node.lineno}: {node.value[:60]!r}")
        elif isinstance(node, ast.Attribute) and node.attr == "exec_driver_sql":
            found.append(f"line {node.lineno}: exec_driver_sql")
    assert found == []


KNOW_THE_DATABASE = {
    f"ctstate.ledger.{name}"
    for name in ("dialect", "database", "sqlite", "sqlite_errors", "sqlite_reader", "sqlite_tables")
} | {
    "ctstate.ledger.checkup",  # a look at a file that may be a ledger
    "ctstate.ledger.names",  # a shell completes from a file at once, or not at all
    "ctstate.verbs.doctor.ledger",  # and at the place that it is in
    *(name for name in MODULES if name.startswith("ctstate.ledger.postgres")),
}
"""Modules that know in which database a ledger is; the others ask `database`."""


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) != "sandbox"])
def test_nothing_else_asks_which_database_it_is(module: str) -> None:
    if module in KNOW_THE_DATABASE:
        return
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            of = getattr(node, "module", None) or ""
            names = {of, *(alias.name for alias in node.names), *(f"{of}.{alias.name}" for alias in node.names)}
            drivers = {name for name in names if name.split(".")[0] in ("sqlite3", "psycopg")}
            if drivers and module not in SQL_OF_THEIR_OWN:
                found.append(f"line {node.lineno}: imports {drivers}")
            if names & KNOW_THE_DATABASE - {
                "ctstate.ledger.database", "ctstate.ledger.dialect", "ctstate.ledger.checkup",
                "ctstate.ledger.names", "ctstate.verbs.doctor.ledger",
            }:  # fmt: skip
                found.append(f"line {node.lineno}: imports a dialect")
        elif isinstance(node, ast.Constant) and node.value in ("sqlite", "postgresql", "postgres", "psycopg"):
            found.append(f"line {node.lineno}: {node.value!r}")
    assert found == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    "where", ["ledger", "formats", "images", "zooniverse", "cluster", "verbs", "commands", "sandbox"]
)
def test_a_room_s_rule_stands_at_its_door(where: str) -> None:
    rule = ast.get_docstring(ast.parse((PACKAGE / where / "__init__.py").read_text(encoding="utf-8")))
    assert rule is not None
    assert rule.splitlines()[0].endswith(".")


def test_no_library_module_prints_or_exits() -> None:
    """The library raises and returns; only the commands (and programs of their own) talk."""
    found = []
    for module, path in MODULES.items():
        if room(module) in ("commands", "__main__", "sandbox") or module.startswith("ctstate.verbs.demo"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and any(alias.name == "click" for alias in node.names):
                found.append(f"{module} imports click")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "exit"):
                found.append(f"{module}:{node.lineno} {node.func.id}")
    assert found == []


def test_only_the_zooniverse_room_knows_the_client() -> None:
    """`panoptes_client` and `requests` stay behind one door."""
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        if room(module) not in ("zooniverse", "sandbox"):
            assert not re.search(r"^\s*(import|from) (panoptes_client|requests|urllib3)\b", source, re.MULTILINE), (
                module
            )


@pytest.mark.parametrize("verb", ["status", "sql"])
def test_a_report_loads_no_image_or_table_library(verb: str, tmp_path: Path) -> None:
    heavy = {"PIL", "pandas", "numpy", "panoptes_client", "cv2", "simplejpeg", "starlette", "uvicorn", "alembic"}
    program = (
        "import sys\nsys.argv = ['ctstate', '--ledger', 'none.db', *sys.argv[1:]]\n"
        "from ctstate.commands import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & {heavy!r}))"
    )
    arguments = [verb, "SELECT 1"] if verb == "sql" else [verb]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
