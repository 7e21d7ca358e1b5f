"""The arrows point one way: commands -> verbs' modules -> ledger -> schema and states."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ctstate

PACKAGE = Path(ctstate.__file__).parent
COMMANDS, VERBS, LEDGER, GROUND = 3, 2, 1, 0

ON_THE_GROUND = {
    "ctstate", "ctstate.ledger.clock", "ctstate.errors", "ctstate.machine",
    "ctstate.formats.paths", "ctstate.ledger.schema", "ctstate.ledger.states",
    # What the ledger asks to learn whether a run still lives. Only these; `submit` is a verb.
    "ctstate.cluster", "ctstate.cluster.queue", "ctstate.cluster.tools",
}  # fmt: skip


def level(module: str) -> int:
    if module in ON_THE_GROUND:
        return GROUND
    if module.startswith("ctstate.ledger"):
        return LEDGER
    if module.startswith("ctstate.commands") or module == "ctstate.__main__":
        return COMMANDS
    return VERBS


def name_of(path: Path) -> str:
    parts = [part for part in path.relative_to(PACKAGE.parent).with_suffix("").parts if part != "__init__"]
    return ".".join(parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if "migrations" not in path.parts}


def imports(module: str) -> set[str]:
    """Every module of ours that a module imports, at whatever place in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.ImportFrom):
            package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
            base = ".".join([*package.split(".")[: 1 - node.level or None], *filter(None, [node.module])])
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) or {base}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "ctstate"}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_below_knows_what_is_above(module: str) -> None:
    assert {name for name in imports(module) if level(name) > level(module)} == set()


def test_the_rooms_are_there() -> None:
    """Else the test above would pass on nothing."""
    rooms = {"captures", "batches", "upload", "zooniverse", "reconcile", "ledger", "schema", "states", "commands"}
    assert {f"ctstate.{room}" for room in rooms} <= MODULES.keys()
    assert "ctstate.ledger" in imports("ctstate.verbs.manifest")
    assert "ctstate.verbs.manifest" in imports("ctstate.commands.manifest")


def test_no_library_module_prints_or_exits() -> None:
    """The library raises and returns; only the commands (and programs of their own) talk."""
    found = []
    for module, path in MODULES.items():
        if level(module) == COMMANDS or module.startswith("ctstate.sandbox") or module == "ctstate.verbs.demo":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and any(alias.name == "click" for alias in node.names):
                found.append(f"{module} imports click")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "exit"):
                found.append(f"{module}:{node.lineno} {node.func.id}")
    assert found == []


def test_only_the_zooniverse_room_knows_the_client() -> None:
    """`panoptes_client` stays behind one door, and the sandbox knows neither it nor the ledger."""
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        if module != "ctstate.zooniverse.api":
            assert "import panoptes_client" not in source
            assert "from panoptes_client" not in source
        if module.startswith("ctstate.sandbox"):
            assert {name for name in imports(module) if level(name) == LEDGER} == set()


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
