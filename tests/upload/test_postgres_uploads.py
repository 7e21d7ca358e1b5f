"""Uploads on a PostgreSQL that goes away in the midst of them: nothing is lost, nothing is doubled."""

import random
import re
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from ctstate.errors import LedgerError, LedgerLostError
from ctstate.ledger import Ledger
from ctstate.ledger.database import moment
from tests.builders.ledgers import ON_POSTGRES, new_ledger_at, no_ledger_at
from tests.builders.postgres import cluster
from tests.upload.test_workers import start, wait_for

__all__ = ["start"]  # a fixture

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="about PostgreSQL: make test-postgres")

UPLOADED = "SELECT count(*) FROM capture WHERE state = 'uploaded'"


def cut_connections(database: str) -> None:
    cluster().ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")


def database_of(season: Any) -> str:
    return str(season.path).rpartition("/")[2]


def finish(season: Any, start: Any, workers: list[subprocess.Popen[str]], logs: Callable[[], list[str]]) -> None:
    """Let workers end well, or with one line and be started again; then all is well."""
    codes = [worker.wait(timeout=240) for worker in workers]
    for code, log in zip(codes, logs(), strict=True):
        assert code in (0, 1), log
        assert "Traceback" not in log
        assert code == 0 or len(re.findall(r"^Error: ", log, re.MULTILINE)) == 1, log
    if any(codes):
        assert start(season).wait(timeout=240) == 0, logs()[-1]
    season.check()


@pytest.fixture
def logs(tmp_path: Any) -> Callable[[], list[str]]:
    return lambda: [path.read_text() for path in sorted(tmp_path.glob("worker*.log"))]


def test_the_server_dies_and_comes_back(new_season: Any, start: Any, logs: Any) -> None:
    season = new_season(24)
    season.z.set_faults({"latency_ms": {"create subject": 150, "put image": 50}})
    workers = [start(season, "--link-batch-size", "3") for _ in range(2)]
    wait_for(season, "SELECT count(*) FROM capture WHERE subject_id IS NOT NULL", least=2)
    cluster().restart_at_once()
    finish(season, start, workers, logs)


def test_connections_are_cut_again_and_again(new_season: Any, start: Any, logs: Any) -> None:
    season = new_season(20)
    season.z.set_faults({"latency_ms": {"create subject": 150, "put image": 50}})
    workers = [start(season, "--link-batch-size", "3") for _ in range(2)]
    wait_for(season, "SELECT count(*) FROM capture WHERE subject_id IS NOT NULL")
    for _ in range(8):
        cut_connections(database_of(season))
        time.sleep(0.3)
    finish(season, start, workers, logs)


class LostReplies:
    """COMMITs of this process that reach the server, or do not, and whose reply never comes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import psycopg

        self.lose: Callable[[], str] = lambda: ""
        self.lost: list[str] = []
        commit = psycopg.Connection.commit

        def losing(connection: Any) -> None:
            how = self.lose() if connection.info.transaction_status.name == "INTRANS" else ""
            if how == "after":
                commit(connection)
            if how:
                self.lost.append(how)
                connection.close()
                raise psycopg.OperationalError("consuming input failed: the reply was lost")
            commit(connection)

        monkeypatch.setattr(psycopg.Connection, "commit", losing)


def test_a_commit_whose_reply_is_lost_is_looked_up(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = LostReplies(monkeypatch)
    with Ledger.open(new_ledger_at(tmp_path / "l.db")) as ledger:
        replies.lose = lambda: "after"
        with ledger.write() as connection:
            connection.execute(text("INSERT INTO meta VALUES ('a', '1')"))
        replies.lose = lambda: "before"
        with pytest.raises(LedgerLostError, match="nothing of this step was written"), ledger.write() as connection:
            connection.execute(text("INSERT INTO meta VALUES ('b', '1')"))
        replies.lose = lambda: ""
        assert (ledger.meta("a"), ledger.meta("b")) == ("1", None)
    assert replies.lost == ["after", "before"]


@pytest.mark.parametrize("refusal", ["connection refused", "FATAL:  sorry, too many clients already"])
def test_a_commit_is_looked_up_as_soon_as_the_server_lets_in(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    import psycopg

    replies, refused = LostReplies(monkeypatch), list[str]()
    connect = psycopg.connect

    def at_the_door(*of: Any, **how: Any) -> Any:
        if replies.lost and len(refused) < 2:
            refused.append(refusal)
            raise psycopg.OperationalError(f"connection failed: {refusal}")
        return connect(*of, **how)

    with Ledger.open(new_ledger_at(tmp_path / "l.db")) as ledger:
        monkeypatch.setattr(psycopg, "connect", at_the_door)
        replies.lose = lambda: "" if replies.lost else "after"
        with ledger.write() as connection:
            connection.execute(text("INSERT INTO meta VALUES ('a', '1')"))
        assert ledger.meta("a") == "1"
    assert refused == [refusal] * 2


def number_of(connection: Any) -> str:
    return str(connection.execute(text("SELECT CAST(pg_current_xact_id() AS text)")).scalar_one())


@pytest.mark.parametrize("others_write", [False, True])
def test_after_a_crash_another_transaction_s_number_is_not_taken_for_ours(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, others_write: bool
) -> None:
    """What a crash takes along, it takes along with its number, and the next transaction gets that."""
    place = new_ledger_at(tmp_path / "l.db")
    replies, numbers = LostReplies(monkeypatch), list[str]()

    def crash() -> str:
        replies.lose = lambda: ""
        cluster().restart_at_once()
        if others_write:
            with Ledger.open(place) as other, other.write() as connection:
                numbers.append(number_of(connection))
                connection.execute(text("INSERT INTO meta VALUES ('b', '1')"))
        return "before"

    def again() -> str:
        """A write during which the server crashes: what its user is told."""
        numbers.clear()
        with Ledger.open(place) as ledger:
            with pytest.raises(LedgerError) as told, ledger.write() as connection:
                numbers.append(number_of(connection))
                connection.execute(text("INSERT INTO meta VALUES ('a', '1')"))
                replies.lose = crash
            assert ledger.meta("a") is None
            assert ledger.meta("b") == ("1" if others_write else None)
        return str(told.value)

    for _ in range(20):
        said = again()
        if not others_write or len(set(numbers)) == 1:
            break
        # Something had been written to the disk before the crash, the number as well: nobody else gets it.
        assert "nothing of this step was written" in said
        with Ledger.open(place) as ledger, ledger.write() as connection:
            connection.execute(text("DELETE FROM meta WHERE name = 'b'"))
    else:
        pytest.fail("no number was given to another in 20 crashes: this test proves nothing")
    assert ("is not known" if others_write else "nothing of this step was written") in said


def test_a_read_that_is_read_needs_no_reply(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = LostReplies(monkeypatch)
    with Ledger.open(new_ledger_at(tmp_path / "l.db")) as ledger:
        replies.lose = lambda: "before"
        assert ledger.meta("a") is None
    assert replies.lost == ["before"]


def test_work_that_was_not_written_is_done_anew(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    replies, left = LostReplies(monkeypatch), ["before"] * 3 + ["after"]

    def work(connection: Any) -> str:
        connection.execute(text("INSERT INTO meta VALUES ('a', '1')"))
        return "done"

    with Ledger.open(new_ledger_at(tmp_path / "l.db")) as ledger:
        replies.lose = lambda: left.pop(0) if left else ""
        assert ledger.do(work) == "done"
        assert ledger.meta("a") == "1"
        replies.lose = lambda: "before"
        with pytest.raises(LedgerLostError):
            ledger.do(lambda connection: connection.execute(text("INSERT INTO meta VALUES ('b', '1')")))
        replies.lose = lambda: ""
        assert ledger.meta("b") is None


def test_an_upload_that_loses_replies_goes_on(new_season: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread's they are, from its first claim on."""
    season = new_season(15)
    replies, chance = LostReplies(monkeypatch), random.Random(5)

    def lose() -> str:
        names = {thread.name for thread in threading.enumerate()}
        return chance.choice(("after", "before", "", "")) if "committer" in names else ""

    replies.lose = lose
    report = season.upload()
    assert (report.counts.uploaded, report.counts.failed) == (15, 0)
    assert {"after", "before"} == set(replies.lost)
    season.check()


def test_a_connection_that_cannot_be_lent_is_told_in_one_line(tmp_path: Any) -> None:
    place = new_ledger_at(tmp_path / "l.db")
    with Ledger.open(place) as ledger:
        cluster().ask(f"DROP DATABASE {place.rpartition('/')[2]} WITH (FORCE)")
        for _ in range(2):  # the one of the pool is found out by its first use
            with (
                pytest.raises(LedgerError, match=r"no connection|no such database"),
                ledger.connection() as lent,
                ledger.read(lent),
            ):
                pass


def test_a_cut_in_mid_transaction_leaves_nothing_and_the_next_one_works(tmp_path: Any) -> None:
    place = new_ledger_at(tmp_path / "l.db")
    with Ledger.open(place) as ledger:
        with pytest.raises(LedgerLostError), ledger.write() as connection:
            connection.execute(text("INSERT INTO meta VALUES ('a', '1')"))
            cut_connections(place.rpartition("/")[2])
            connection.execute(text("INSERT INTO meta VALUES ('b', '1')"))
        assert ledger.meta("a") is None
        with pytest.raises(LedgerLostError), ledger.connection() as lent:
            with ledger.read(lent) as connection:
                connection.execute(text("CREATE TEMPORARY TABLE mine (x bigint)"))
            cut_connections(place.rpartition("/")[2])
            with ledger.write(lent) as connection:  # its temporary tables are gone: it must not go on
                connection.execute(text("INSERT INTO meta VALUES ('c', '1')"))
        assert ledger.meta("c") is None


def test_openers_at_once_make_one_ledger(tmp_path: Any) -> None:
    import sys

    place = no_ledger_at(tmp_path / "l.db")
    code = "import sys; from ctstate.ledger import Ledger; print(Ledger.open(sys.argv[1], create=True).ledger_id)"
    openers = [
        subprocess.Popen([sys.executable, "-c", code, place], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = [opener.communicate(timeout=120)[0] for opener in openers]
    assert [opener.returncode for opener in openers] == [0] * 4
    assert len(set(said)) == 1


def test_times_are_the_database_s_and_no_two_are_equal(tmp_path: Any) -> None:
    with Ledger.open(new_ledger_at(tmp_path / "l.db")) as ledger, ledger.write() as connection:
        times = [moment(connection) for _ in range(500)]
        there = str(
            connection.execute(
                text("""SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""")
            ).scalar()
        )
        assert times == sorted(set(times))
        assert times[-1] < there  # never ahead of the clock that it is


def test_a_commit_reaches_the_disk_whatever_the_server_s_setting(tmp_path: Any) -> None:
    place = new_ledger_at(tmp_path / "l.db")
    database = place.rpartition("/")[2]
    cluster().ask(f"ALTER DATABASE {database} SET synchronous_commit = off")
    with Ledger.open(place) as ledger, ledger.write() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"


def test_a_process_takes_few_connections(new_season: Any) -> None:
    season = new_season(10)
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            ((count,),) = cluster().ask(
                f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database_of(season)}'"
            )
            most.append(int(str(count)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    season.upload()
    done.set()
    watcher.join()
    assert 1 <= max(most) <= 3
    season.check()
