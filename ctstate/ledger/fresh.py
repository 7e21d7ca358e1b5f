"""A ledger that is made by what is written into it: there is none until all of that is there.

That is so where it is a file. In a database that a person made for it, an empty ledger harms nobody.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ctstate.ledger.checkup import fold_journal
from ctstate.ledger.database import place_of
from ctstate.ledger.ledger import Ledger
from ctstate.ledger.runs import Jobs

T = TypeVar("T")


def open_or_make(url_or_path: str | os.PathLike[str], work: Callable[[Ledger], T], jobs: Jobs | None = None) -> T:
    """Do some work with a ledger; where there is none, make one that takes its place only if the work ends well.

    A refused first manifest would else leave an empty ledger behind, and to delete it later could take it from
    another process. So it is made beside its place, and put there whole.

    Args:
        url_or_path, jobs: as for `Ledger.open`.
        work: what to do with it; done again where another process was faster to make one.

    Returns:
        what the work returned.
    """
    path = place_of(url_or_path).path
    if path is None or path.exists():
        with Ledger.open(url_or_path, create=True, jobs=jobs) as ledger:
            return work(ledger)
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with Ledger.open(beside, create=True, jobs=jobs, name=str(path)) as ledger:
            done = work(ledger)
        fold_journal(beside)  # all of it into the one file that is put in place
        try:
            _put_in_place(beside, path)
        except FileExistsError:
            with Ledger.open(path, jobs=jobs) as ledger:
                done = work(ledger)
    finally:
        for left in (beside, *(Path(f"{beside}{end}") for end in ("-wal", "-shm", "-journal"))):
            left.unlink(missing_ok=True)
    return done


def _put_in_place(beside: Path, path: Path) -> None:
    """Give a file its name, unless another has it.

    Raises:
        FileExistsError: another has it.
    """
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: its name is taken first
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        beside.replace(path)
