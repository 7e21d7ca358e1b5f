"""Every parser on damaged files and on anything at all; `make fuzz` does so for minutes."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.fuzz.mutator import mutated
from tests.fuzz.targets import Ground, ground, tell

ROUNDS = 12


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Ground]:
    with ground() as made:
        yield made


def test_valid_files_are_read(fuzzed: Ground) -> None:
    """Else the fuzzer would see the first line of each reader only."""
    for name, (target, seeds) in fuzzed.targets.items():
        assert any(tell(target, data) is None for data in seeds), name


def test_damaged_files_end_in_one_line(fuzzed: Ground) -> None:
    chance = random.Random(20261126)
    for target, seeds in fuzzed.targets.values():
        for _ in range(ROUNDS):
            tell(target, mutated(chance.choice(seeds), chance))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.one_of(some.binary(max_size=200), some.text(max_size=100).map(lambda text: text.encode("utf-8"))))
def test_anything_at_all_ends_in_one_line(fuzzed: Ground, data: bytes) -> None:
    for target, _ in fuzzed.targets.values():
        tell(target, data)
