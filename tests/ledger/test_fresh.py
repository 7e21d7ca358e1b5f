"""A ledger that is made by what is written into it is there whole, or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import LedgerError, UsageError
from ctstate.ledger import Ledger
from ctstate.ledger.fresh import open_or_make
from ctstate.ledger.schema import season


def add(name: str) -> Any:
    def work(ledger: Ledger) -> int:
        with ledger.write() as connection:
            values = {"name": name, "attribution": "a", "license": "l", "created_at": "t"}
            connection.execute(season.insert().values(**values))
        return len(names(ledger))

    return work


def names(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return sorted(connection.exec_driver_sql("SELECT name FROM season").scalars())


def there(path: Path) -> list[str]:
    with Ledger.open(path) as ledger:
        return names(ledger)


def no_links(*_: Any, **__: Any) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_it_is_made_whole(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "l.db"
    assert open_or_make(path, add("A")) == 1
    assert open_or_make(path, add("B")) == 2
    assert there(path) == ["A", "B"]
    assert {file.name for file in tmp_path.iterdir()} <= {"l.db", "l.db-wal", "l.db-shm"}


def test_there_is_none_after_a_refusal(tmp_path: Path) -> None:
    def refused(ledger: Ledger) -> None:
        add("A")(ledger)
        raise UsageError("no")

    with pytest.raises(UsageError):
        open_or_make(tmp_path / "l.db", refused)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_who_is_slower_adds_to_the_others_ledger(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "l.db"
    faster = [add("FASTER")]

    def slow(ledger: Ledger) -> int:
        if faster:
            with Ledger.open(path, create=True) as other:
                faster.pop()(other)
        return int(add("SLOWER")(ledger))

    assert open_or_make(path, slow) == 2
    assert there(path) == ["FASTER", "SLOWER"]


def test_one_whose_disk_goes_away_is_not_made_anew(tmp_path: Path) -> None:
    """A share that is unmounted under a run leaves an empty folder: nothing may be made there in its place."""
    place = tmp_path / "share"
    place.mkdir()
    with Ledger.open(place / "season.db", create=True) as ledger:
        ledger.close()  # its next connection is a new one
        place.rename(tmp_path / "away")
        place.mkdir()
        with pytest.raises(LedgerError, match="cannot be opened"), ledger.write():
            pass
        assert list(place.iterdir()) == []
        place.rmdir()
        (tmp_path / "away").rename(place)
        with ledger.write():
            pass
