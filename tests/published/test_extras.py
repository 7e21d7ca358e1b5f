"""The packages that tests and linters need hold back nothing that users get."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", Requirement(text).name).lower()


USERS = {name_of(text) for text in PROJECT["dependencies"]}


def below(name: str, seen: set[str]) -> Iterator[tuple[str, Requirement]]:
    """Yield what a package asks for, and what that asks for: who asks, and the requirement."""
    if name in seen:
        return
    seen.add(name)
    try:
        wanted = requires(name) or []
    except PackageNotFoundError:  # a linter, where nobody lints
        return
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield name, requirement
            yield from below(name_of(requirement.name), seen)


@pytest.mark.parametrize("extra", ["test", "lint"])
def test_what_is_for_developers_holds_nothing_of_the_users_back(extra: str) -> None:
    seen = set(USERS)  # what users get anyway may ask for what it likes
    asked = [found for text in EXTRAS[extra] for found in below(name_of(text), seen)]
    if not asked:
        pytest.skip(f"nothing of ctstate[{extra}] is installed")
    holding_back = [
        f"{who}: {requirement}"
        for who, requirement in asked
        if name_of(requirement.name) in USERS
        and any(part.operator in ("<", "<=", "==", "~=") for part in requirement.specifier)
    ]
    assert holding_back == []


def test_no_extra_has_an_upper_bound() -> None:
    for texts in (PROJECT["dependencies"], *EXTRAS.values()):
        for text in texts:
            assert {part.operator for part in Requirement(text).specifier} <= {">="}, text
