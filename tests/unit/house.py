"""The house as it is: rooms, modules, and which imports which. `python -m tests.unit.house` prints its figures."""

import ast
from pathlib import Path

import ctstate

PACKAGE = Path(ctstate.__file__).parent
PROJECT = PACKAGE.parent

GROUND = ("errors", "capture", "machine", "words")
ROOMS = ("ledger", "formats", "images", "zooniverse", "cluster", "web")
MAY_KNOW: dict[str, tuple[str, ...]] = {
    "errors": (),
    "machine": (),
    "words": (),
    "capture": (),
    "sandbox": ("errors", "words"),
    **dict.fromkeys(ROOMS, GROUND),
    "verbs": (*GROUND, *ROOMS, "sandbox"),  # of the sandbox only what `demo` and `sandbox` start
    "commands": (*GROUND, *ROOMS, "verbs"),
}
"""Which rooms a room may import from, its own apart. `ctstate` itself (version, public names) is open to all."""


def name_of(path: Path) -> str:
    parts = [part for part in path.relative_to(PROJECT).with_suffix("").parts if part != "__init__"]
    return ".".join(parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py")) if "migrations" not in path.parts}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(module: str, *, when_run: bool = False) -> set[str]:
    """Every module of ours that a module imports, at whatever place in it (`when_run`: not only for its types)."""
    found = set()
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if when_run and id(node) in for_types:
            continue
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


def arrows(*, between_rooms: bool = True) -> set[tuple[str, str]]:
    """Which room (or module) imports from which other."""
    place = room if between_rooms else str
    return {
        (place(module), place(to))
        for module in MODULES
        for to in imports(module)
        if to in MODULES and place(module) != place(to) and place(module) and place(to)
    }


def floors() -> dict[str, int]:
    """By room the number of floors below it."""
    below: dict[str, set[str]] = {name: set() for name in MAY_KNOW}
    for one, other in arrows():
        if one in below and other in below:
            below[one].add(other)
    height: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in height:
            height[name] = 0  # a circle would end here, and show as a backward arrow
            height[name] = max((of(other) + 1 for other in below[name]), default=0)
        return height[name]

    return {name: of(name) for name in below}


def main() -> None:
    """Print the figures."""
    between = sorted((one, other) for one, other in arrows() if one in MAY_KNOW and other in MAY_KNOW)
    backwards = [(one, other) for one, other in between if other not in MAY_KNOW[one]]
    height = floors()
    for floor in range(max(height.values()), -1, -1):
        names = sorted(name for name in height if height[name] == floor)
        print(f"floor {floor}: " + ", ".join(f"{name} ({lines(name):,} lines)" for name in names))
    print(f"{len(MAY_KNOW)} rooms, {max(height.values()) + 1} floors, {len(between)} arrows between them, "
          f"{len(backwards)} backwards")  # fmt: skip
    inside = {(one, other) for one, other in arrows(between_rooms=False) if room(one) == room(other) == "verbs"}
    verbs = {(verb(one), verb(other)) for one, other in inside if verb(one) != verb(other)}
    print(f"inside verbs: {len(verbs)} arrows")
    longest = max(MODULES, key=lambda name: len(MODULES[name].read_text(encoding="utf-8").splitlines()))
    print(f"{len(MODULES)} modules, {sum(map(lines, MAY_KNOW)):,} lines; the longest, {longest}, has "
          f"{len(MODULES[longest].read_text(encoding='utf-8').splitlines())}")  # fmt: skip


def verb(module: str) -> str:
    """The verb that a module is of."""
    return ".".join(module.split(".")[2:3])


def lines(where: str) -> int:
    """How many lines a room has."""
    return sum(
        len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items() if room(name) == where
    )


if __name__ == "__main__":
    main()
