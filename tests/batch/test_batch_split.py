"""Splits: the legacy one repeated exactly, and the other orders."""

import math
import random
from typing import Any

import pytest

from ctstate.ledger import Ledger
from ctstate.verbs.batch import batch, whole_groups
from tests.builders.ledgers import make_empty

ODD_SITES = ["B04", "B04 north", "B10", "B9", "b04", "Ä1", "Wasserstelle", "Wasserstelle Süd", 'A"b', "A", "A!"]


def legacy(ids: list[tuple[str, str, int]], batches: int) -> dict[str, set[str]]:
    """docs/legacy-formats.md, sections 1 and 6, written down anew from the text."""
    manifest = sorted(ids, key=lambda key: "#".join(["S", key[0], key[1], f"{key[2]:05d}", f"{1:07d}"]))
    names = [f"S#{site}#{roll}#{capture}" for site, roll, capture in manifest]
    random.seed(123)
    random.shuffle(names)
    return {
        f"batch_{b}": set(names[round((b - 1) * len(names) / batches) : round(b * len(names) / batches)])
        for b in range(1, batches + 1)
    }


@pytest.mark.parametrize(("captures", "number"), [(1, 1), (5, 2), (10, 4), (100, 7), (101, 101), (257, 8)])
def test_a_legacy_split_is_repeated(
    season: Any, batches: Any, call_ctstate: Any, captures: int, number: int
) -> None:
    rng = random.Random(captures)
    every = [
        (site, roll, n) for site in ODD_SITES for roll in ("1", "2", "10") for n in (1, 9, 10, 99_999, 100_000)
    ]
    every += [("Z", "1", n) for n in range(2000, 2100)]
    keys = rng.sample(every, captures)
    season(keys)
    assert call_ctstate("batch", "--number-of-batches", number).code == 0
    assert batches() == legacy(keys, number)


def test_max_batch_size_is_legacys_too(season: Any, batches: Any, call_ctstate: Any) -> None:
    keys = [("A", "1", n) for n in range(1, 104)]
    season(keys)
    assert call_ctstate("batch", "--max-batch-size", 10).code == 0
    assert batches() == legacy(keys, 11)
    assert max(map(len, batches().values())) <= 10


def test_halves_are_rounded_to_even(season: Any, batches: Any, call_ctstate: Any) -> None:
    season([("A", "1", n) for n in range(10)])
    result = call_ctstate("batch", "--number-of-batches", 4, "--order", "sequential")
    # Cuts at 2.5, 5, 7.5: Python's round makes 2, 5, 8 of them, a schoolbook's 3, 5, 8.
    assert result.stdout.splitlines() == [
        "S batch_1: 2 captures",
        "S batch_2: 3 captures",
        "S batch_3: 3 captures",
        "S batch_4: 2 captures",
    ]
    assert batches()["batch_1"] == {"S#A#1#0", "S#A#1#1"}


@pytest.mark.parametrize("most", range(1, 12))
def test_no_batch_is_larger_than_asked_for(most: int) -> None:
    from ctstate.verbs.batch import positions

    for count in range(1, 120):
        ranges = positions(count, math.ceil(count / most))
        assert max(end - start for start, end in ranges) <= most
        assert [place for start, end in ranges for place in range(start, end)] == list(range(count))


def test_sequential_order_counts_captures_as_numbers(season: Any, batches: Any, call_ctstate: Any) -> None:
    season([("A", "1", n) for n in (100_000, 9, 99_999, 10)])
    assert call_ctstate("batch", "--number-of-batches", 2, "--order", "sequential").code == 0
    assert batches() == {"batch_1": {"S#A#1#9", "S#A#1#10"}, "batch_2": {"S#A#1#99999", "S#A#1#100000"}}


def test_a_seed_of_ones_own(season: Any, batches: Any, call_ctstate: Any) -> None:
    season([("A", "1", n) for n in range(40)])
    found = []
    for seed in (123, 1, 1, 2):
        assert call_ctstate("batch", "--number-of-batches", 2, "--seed", seed).code == 0
        found.append(batches())
    assert found[1] == found[2]
    assert found[0] != found[1] != found[3]
    assert all(set.union(*f.values()) == set.union(*found[0].values()) for f in found)


@pytest.mark.parametrize("order", ["site", "roll"])
@pytest.mark.parametrize("how", [("--number-of-batches", 4), ("--max-batch-size", 30)])
def test_sites_and_rolls_stay_whole(
    season: Any, batches: Any, call_ctstate: Any, order: str, how: tuple[str, int]
) -> None:
    rng = random.Random(5)
    keys = [(f"site{s:02}", str(r), n) for s in range(12) for r in (1, 2) for n in range(rng.randint(1, 9))]
    ids = season(keys)
    assert call_ctstate("batch", *how, "--order", order).code == 0
    found = batches()
    assert sum(map(len, found.values())) == len(ids)
    homes: dict[str, set[str]] = {}
    for name, members in found.items():
        for member in members:
            homes.setdefault(member.rsplit("#", 1 if order == "roll" else 2)[0], set()).add(name)
    assert all(len(names) == 1 for names in homes.values())
    if how[0] == "--max-batch-size":
        assert max(map(len, found.values())) <= 30
    else:
        assert len(found) == 4


def test_a_site_larger_than_a_batch_is_cut(season: Any, batches: Any, call_ctstate: Any) -> None:
    season([("A", "1", n) for n in range(3)] + [("B", "1", n) for n in range(25)] + [("C", "1", 1)])
    assert call_ctstate("batch", "--max-batch-size", 10, "--order", "site").code == 0
    assert [len(members) for members in batches().values()] == [3, 10, 10, 6]


def test_whole_groups_of_any_sizes() -> None:
    rng = random.Random(3)
    for _ in range(300):
        sizes = [rng.randint(1, 20) for _ in range(rng.randint(1, 15))]
        ends = {sum(sizes[:n]) for n in range(len(sizes) + 1)}
        for ranges in (whole_groups(sizes, rng.randint(1, 8), None), whole_groups(sizes, None, 20)):
            assert [place for start, end in ranges for place in range(start, end)] == list(range(sum(sizes)))
            assert {border for pair in ranges for border in pair} <= ends


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--number-of-batches", 2, "--max-batch-size", 2),
        ("--number-of-batches", 0),
        ("--number-of-batches", -1),
        ("--max-batch-size", 0),
        ("--number-of-batches", 6),
        ("--number-of-batches", "two"),
        ("--number-of-batches", 2.5),
        ("--number-of-batches", 2, "--order", "sideways"),
        ("--number-of-batches", 2, "--season", "NONE"),
        ("--number-of-batches", 2, "--seed", "x"),
    ],
)
def test_calls_that_make_no_sense(
    season: Any, call_ctstate: Any, ledger_path: Any, dump: Any, arguments: tuple[Any, ...]
) -> None:
    season([("A", "1", n) for n in range(5)])
    before = dump(ledger_path)
    result = call_ctstate("batch", *arguments)
    result.error()
    assert result.code == 2
    assert dump(ledger_path) == before


def test_several_seasons_need_a_name(season: Any, batches: Any, call_ctstate: Any, ask: Any) -> None:
    season([("A", "1", 1)])
    season([("A", "1", 1)], name="T")
    assert (
        "name a season with --season: the ledger holds S, T"
        in call_ctstate("batch", "--number-of-batches", 1).error()
    )
    assert call_ctstate("batch", "--number-of-batches", 1, "--season", "T").code == 0
    assert batches() == {"batch_1": {"T#A#1#1"}}
    assert call_ctstate("batch", "--number-of-batches", 1, "--season", "S").code == 0
    assert ask("SELECT season_id, name FROM batch ORDER BY id") == [(2, "batch_1"), (1, "batch_1")]


def test_an_empty_ledger(call_ctstate: Any, ledger_path: Any) -> None:
    make_empty(ledger_path)
    assert "begin with `ctstate manifest`" in call_ctstate("batch", "--number-of-batches", 1).error()


def test_a_python_caller_gets_the_sizes(season: Any, ledger_path: Any) -> None:
    season([("A", "1", n) for n in range(5)])
    with Ledger.open(ledger_path) as ledger:
        assert batch(ledger, number_of_batches=2).sizes == {"batch_1": 2, "batch_2": 3}
