"""A copy of the ledger: for the same eyes as the ledger, never stuck, never the reason that a ledger is lost."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctstate.errors import LedgerError
from ctstate.ledger import Ledger, sqlite
from ctstate.verbs.backup import backup
from tests.builders.ledgers import of_files

pytestmark = of_files


@pytest.fixture
def anybody_may_read() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: str | os.PathLike[str]) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o664])
@pytest.mark.usefixtures("anybody_may_read")
def test_a_copy_is_read_by_nobody_who_may_not_read_the_ledger(
    new_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    ledger = new_ledger(3)
    assert ledger.path is not None
    ledger.path.chmod(bits)
    seen = []

    def copied(path: Path, part: Path) -> int:
        seen.append(mode(part))
        return real(path, part)

    real = sqlite._copied
    monkeypatch.setattr(sqlite, "_copied", copied)
    assert mode(backup(ledger).path) == bits
    assert seen == [0o600]  # nor while it is made


def test_what_a_killed_copy_left_stops_no_other(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(3)
    assert ledger.path is not None
    target = ledger.path.with_name("copy.db")
    # In a container every process has the same number.
    target.with_name(f"copy.db.part-{os.getpid()}").write_text("half a copy")
    assert backup(ledger, target).captures == 3


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_never_takes_the_place_of_a_link_to_a_disk_that_is_away(
    new_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Also where the file system knows no hard links."""

    def no_links(*_: object) -> None:
        raise PermissionError("no hard links here")

    if not links:
        monkeypatch.setattr("os.link", no_links)
    ledger = new_ledger(3)
    assert ledger.path is not None
    target = ledger.path.with_name("copy.db")
    target.symlink_to("/away/copy.db")
    with pytest.raises(LedgerError, match="no copy could be made at"):
        backup(ledger, target)
    assert target.readlink() == Path("/away/copy.db")
    assert list(target.parent.glob("copy.db*")) == [target]


def test_a_copy_makes_no_ledger_where_there_is_none_any_more(new_ledger: Callable[..., Ledger]) -> None:
    ledger = new_ledger(3)
    assert ledger.path is not None
    for file in ledger.path.parent.glob(f"{ledger.path.name}*"):
        file.rename(file.with_name(f"gone-{file.name}"))
    with pytest.raises(LedgerError, match="no copy could be made"):
        ledger.back_up(ledger.path.with_name("copy.db"))
    assert not ledger.path.exists()
    assert list(ledger.path.parent.glob("copy.db*")) == []


def test_a_copy_does_not_wait_for_ever(new_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = new_ledger(3)
    assert ledger.path is not None
    path = ledger.path
    ledger.close()
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="locked"):
            sqlite.Sqlite().back_up(path, path.with_name("copy.db"))
    other.close()
    assert list(path.parent.glob("copy.db*")) == []
