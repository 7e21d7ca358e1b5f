"""Files that verbs write: for no more eyes than the file before, and never through another's link."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctstate.verbs.files import written


@pytest.fixture(autouse=True)
def anybody_may_read() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_link_that_another_user_put_there_is_not_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("work of years")
    # The name beside the file could be told by anybody who may write in the folder.
    (tmp_path / f".page.html.{os.getpid()}.part").symlink_to(precious)
    with written(tmp_path / "page.html") as stream:
        stream.write("a page")
    assert precious.read_text() == "work of years"
    assert (tmp_path / "page.html").read_text() == "a page"


def test_a_file_that_is_replaced_is_read_by_no_more_people(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("a page")
    page.chmod(0o600)
    with written(page) as stream:
        stream.write("another")
        (beside,) = (file for file in tmp_path.iterdir() if file != page)
        assert mode(beside) == 0o600
    assert (page.read_text(), mode(page)) == ("another", 0o600)


def test_a_new_file_is_as_this_user_makes_files(tmp_path: Path) -> None:
    with written(tmp_path / "page.html") as stream:
        stream.write("a page")
    assert mode(tmp_path / "page.html") == 0o644


def test_what_shows_people_is_for_its_maker_alone(tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    with written(page, private=True) as stream:
        stream.write("people")
    assert mode(page) == 0o600
    page.chmod(0o640)  # he lets his group look, and makes it anew
    with written(page, private=True) as stream:
        stream.write("people")
    assert mode(page) == 0o640


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written(tmp_path / "page.html") as stream:
        stream.write("half")
        raise RuntimeError("no")
    assert list(tmp_path.iterdir()) == []
