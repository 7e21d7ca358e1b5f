"""Dead runs, recovery, fencing, leases."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from sqlalchemy import Row, text

from ctstate.capture import Job
from ctstate.errors import FencedError, LedgerError, LedgerLostError, UsageError
from ctstate.ledger import Ledger, Selection, claims, clock, live, processes, run_figures, runs, set_lease, speeds
from ctstate.ledger.facts import (
    Announced,
    Arrived,
    Broken,
    Bytes,
    Encoded,
    Made,
    Moved,
    NothingMade,
    ReplyLost,
    SubjectGone,
    ToBlame,
    write_down,
)
from ctstate.ledger.states import State
from ctstate.machine import Machine, running_on
from ctstate.verbs.stop import stop_runs
from tests.builders.uploads import uploaded_by


def one(ledger: Ledger, sql: str, **parameters: object):
    with ledger.read() as connection:
        return connection.execute(text(sql), parameters).one()


def captures(ledger: Ledger) -> list[Row[Any]]:
    """The whole table."""
    with ledger.read() as connection:
        return list(connection.execute(text("SELECT * FROM capture ORDER BY id")))


def start(ledger: Ledger) -> int:
    with ledger.write() as connection:
        return runs.start(connection, "upload", {})


def take(ledger: Ledger, run_id: int, limit: int = 10) -> list[claims.Claim]:
    with ledger.write() as connection:
        return claims.claim(connection, run_id, 1, 1, limit)


def silence(ledger: Ledger, run_id: int) -> None:
    """Make a run look as if it had been silent for a day, on another host."""
    with ledger.write() as connection:
        connection.execute(
            text(
                "UPDATE run SET heartbeat_at = '2020-01-01T00:00:00.000000Z', host_id = 'elsewhere' WHERE id = :r"
            ),
            {"r": run_id},
        )


def elsewhere(ledger: Ledger, run_id: int) -> None:
    """Let a run be another host's: whether its process lives cannot be seen from here."""
    with ledger.write() as connection:
        connection.execute(text("UPDATE run SET host_id = 'elsewhere' WHERE id = :r"), {"r": run_id})


def silent_for(ledger: Ledger, run_id: int, seconds: float) -> None:
    """Let a run's last heartbeat be so long ago."""
    with ledger.write() as connection:
        beaten = {"r": run_id, "at": clock.shifted(clock.now(), -seconds)}
        connection.execute(text("UPDATE run SET heartbeat_at = :at WHERE id = :r"), beaten)


def test_a_capture_is_claimed_by_one_run_only(new_ledger) -> None:
    ledger = new_ledger(10)
    first, second = start(ledger), start(ledger)
    mine, yours = take(ledger, first, 6), take(ledger, second, 6)
    assert [len(mine), len(yours)] == [6, 4]
    assert not {c.capture_id for c in mine} & {c.capture_id for c in yours}
    assert take(ledger, first) == []


def test_a_live_run_is_not_recovered(new_ledger) -> None:
    ledger = new_ledger(3)
    take(ledger, start(ledger))
    assert ledger.recover() == 0
    assert ledger.count(Selection(states=[State.UPLOADING])) == 3


def test_a_silent_run_is_recovered_and_what_it_may_have_sent_is_in_doubt(new_ledger) -> None:
    ledger = new_ledger(3)
    run_id = start(ledger)
    sent, made, untouched = take(ledger, run_id)
    with ledger.write() as connection:
        write_down(connection, [(mine, [Announced(run_id, 40)]) for mine in (sent, made)])
        write_down(connection, [(made, [Made(41)])])
    silence(ledger, run_id)
    assert ledger.recover() == 3
    assert one(ledger, "SELECT outcome FROM run WHERE id = :r", r=run_id).outcome == "lost"
    rows = {row.id: row for row in captures(ledger)}
    assert {row.state for row in rows.values()} == {"batched"}
    assert rows[sent.row.id].ambiguous_at is not None
    assert rows[sent.row.id].create_floor == 40
    assert (rows[made.row.id].ambiguous_at, rows[made.row.id].subject_id) == (None, 41)
    assert rows[untouched.row.id].ambiguous_at is None
    again = {c.capture_id: c for c in take(ledger, start(ledger))}
    assert again[sent.capture_id].ambiguous_at is not None
    assert again[sent.capture_id].create_run_id == run_id
    assert again[made.capture_id].row.subject_id == 41


def test_a_process_that_is_gone_from_this_host_is_recovered_at_once(new_ledger) -> None:
    ledger = new_ledger(2)
    code = (
        "import sys, time\n"
        "from ctstate.ledger import Ledger, claims\n"
        "ledger = Ledger.open(sys.argv[1])\n"
        "live = ledger.live_run('upload', {})\n"
        "with ledger.write() as c: claims.claim(c, live.id, 1, 1, 9)\n"
        "print('claimed', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, ledger.name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    assert ledger.recover() == 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert ledger.recover() == 2


def test_a_pid_used_again_does_not_keep_a_run_alive(new_ledger) -> None:
    ledger = new_ledger(1)
    run_id = start(ledger)
    take(ledger, run_id)
    with ledger.write() as connection:  # this very pid lives, but began at another time
        connection.execute(text("UPDATE run SET pid_started = '1' WHERE id = :r"), {"r": run_id})
    assert ledger.recover() == 1


def test_who_slept_through_its_lease_changes_nothing(new_ledger) -> None:
    ledger = new_ledger(1)
    sleeper = start(ledger)
    (old,) = take(ledger, sleeper)
    silence(ledger, sleeper)
    ledger.recover()
    (new,) = take(ledger, start(ledger))
    writes = [
        lambda c: write_down(c, [(old, [Announced(sleeper, 1)])]),
        lambda c: write_down(c, [(old, [Made(99)])]),
        lambda c: write_down(c, [(old, [NothingMade()])]),
        lambda c: write_down(c, [(old, [ReplyLost()])]),
        lambda c: write_down(c, [(old, [SubjectGone()])]),
        lambda c: write_down(c, [(old, [Encoded([Bytes(1, "0" * 32, 5)])])]),
        lambda c: write_down(c, [(old, [Arrived([1])])]),
        lambda c: write_down(c, [(old, [Broken(1, "x")])]),
        lambda c: write_down(c, [(old, [ToBlame({1: None})])]),
        lambda c: write_down(c, [(old, [Moved(State.UPLOADED)])]),
        lambda c: claims.claim(c, sleeper, 1, 1, 9),
    ]
    before = (captures(ledger), one(ledger, "SELECT * FROM image"))
    for write in writes:
        with pytest.raises(FencedError), ledger.write() as connection:
            write(connection)
    assert (captures(ledger), one(ledger, "SELECT * FROM image")) == before
    with ledger.write() as connection:
        write_down(connection, [(new, [Made(100), Moved(State.UPLOADED)])])
    assert next(ledger.captures()).subject_id == 100


def test_the_sleeper_itself_notices(new_ledger) -> None:
    ledger = new_ledger(1)
    live = ledger.live_run("upload", {})
    assert live.surely_alive()
    silence(ledger, live.id)
    with ledger.write() as connection:
        runs.recover(connection, [live.id])
    live.beat()
    assert live.lost.is_set()
    assert not live.surely_alive()
    live.end("done")
    assert one(ledger, "SELECT outcome FROM run WHERE id = :r", r=live.id).outcome == "lost"


class Elsewhen(Machine):
    """A machine whose process has just slept for so many seconds, and whose clock is off."""

    def __init__(self, seconds: float, wall: float = 0.0) -> None:
        self.slept, self.off = seconds, wall

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    def wall(self) -> float:
        return super().wall() + self.off


def test_a_run_that_was_not_heard_for_long_does_not_trust_itself(new_ledger) -> None:
    ledger = new_ledger(1)
    with ledger.live_run("upload", {}) as live, running_on(Elsewhen(runs.LEASE_S)):
        assert not live.surely_alive()
        live.make_sure()
        assert live.surely_alive()


def test_a_run_that_slept_while_it_said_that_it_lives_is_not_dead(new_ledger, monkeypatch) -> None:
    """Found by the simulator: the beat was written, and the run took itself for dead all the same."""
    ledger = new_ledger(1)
    machine = Elsewhen(0)
    beat = runs.beat
    naps = [runs.LEASE_S, runs.LEASE_S]

    def sleepy(connection, run_id):
        machine.slept += naps.pop() if naps else 0
        return beat(connection, run_id)

    with ledger.live_run("upload", {}) as live, running_on(machine):
        machine.slept = runs.LEASE_S
        monkeypatch.setattr(runs, "beat", sleepy)
        live.make_sure()
        assert live.surely_alive()
    assert naps == []


def test_a_clock_that_is_ahead_declares_nobody_dead(new_ledger) -> None:
    """Ten minutes are twice a lease; only a silence that this process saw itself, or a much longer one, counts."""
    ledger = new_ledger(2)
    run_id = start(ledger)
    take(ledger, run_id)
    elsewhere(ledger, run_id)
    with running_on(Elsewhen(0, wall=600)):
        assert ledger.recover() == 0
    with running_on(Elsewhen(runs.LEASE_S + 1)):
        assert ledger.recover() == 2  # it saw the run not beat for a lease, by its own measure
    assert one(ledger, "SELECT outcome FROM run WHERE id = :r", r=run_id).outcome == "lost"


def test_a_run_that_beats_is_alive_whatever_the_clocks_say(new_ledger) -> None:
    ledger = new_ledger(1)
    run_id = start(ledger)
    take(ledger, run_id)
    elsewhere(ledger, run_id)
    assert ledger.recover() == 0
    with ledger.write() as connection:
        runs.beat(connection, run_id)
    with running_on(Elsewhen(runs.LEASE_S + 1, wall=-600)):
        assert ledger.recover() == 0


def test_a_stop_that_was_asked_for_reaches_the_run(new_ledger) -> None:
    ledger = new_ledger(1)
    live = ledger.live_run("upload", {})
    with ledger.write() as connection:
        connection.execute(text("UPDATE run SET stop_requested_at = 't' WHERE id = :r"), {"r": live.id})
    live.beat()
    assert live.stop_requested.is_set()
    live.end("stopped", "asked")
    assert tuple(one(ledger, "SELECT outcome, message FROM run WHERE id = :r", r=live.id)) == ("stopped", "asked")


def test_a_heartbeat_that_failed_is_not_the_last(new_ledger, monkeypatch) -> None:
    ledger = new_ledger(1)
    beat, troubles, beaten = runs.beat, [LedgerError("the ledger is locked")], threading.Event()

    def once_in_trouble(connection, run_id):
        if troubles:
            raise troubles.pop()
        beaten.set()
        return beat(connection, run_id)

    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(runs, "beat", once_in_trouble)
    with ledger.live_run("upload", {}):
        assert beaten.wait(10)
    assert troubles == []


def test_figures_are_told_of_the_run_that_they_are_of(new_ledger) -> None:
    ledger = new_ledger(1)
    of = {start(ledger): 3.0, start(ledger): 40.0}
    with ledger.write() as connection:
        for run_id, retries in of.items():
            run_figures.put(connection, run_id, {"retries": retries})
    with ledger.read() as connection:
        assert {run_id: live.figures_of(connection, run_id) for run_id in of} == {
            run_id: [("retries", retries)] for run_id, retries in of.items()
        }


def test_only_the_runs_that_were_named_are_stopped(new_ledger) -> None:
    ledger = new_ledger(1)
    first, over, last = start(ledger), start(ledger), start(ledger)
    with ledger.write() as connection:
        runs.end(connection, over, "done")
    asked = stop_runs(ledger, [last, over])
    assert (asked.asked, asked.ended) == ([last], [over])
    with ledger.read() as connection:
        stopped = connection.execute(text("SELECT id FROM run WHERE stop_requested_at IS NOT NULL")).scalars()
        assert list(stopped) == [last]
    with pytest.raises(UsageError, match=f"no run {last + 100} in ledger"):
        stop_runs(ledger, [first, last + 100])


def test_one_run_at_a_time_has_a_batch_s_lease(new_ledger) -> None:
    ledger = new_ledger(1)
    first, second = start(ledger), start(ledger)

    def lease_of(run_id: int):
        with ledger.write() as connection:
            return set_lease.take(connection, 1, run_id)

    lease = lease_of(first)
    assert lease is not None
    assert lease_of(second) is None
    again = lease_of(first)
    assert again.token == lease.token + 1  # its own may be taken anew
    with ledger.write() as connection:
        set_lease.drop(connection, lease)  # an old one drops nothing
    assert lease_of(second) is None
    with pytest.raises(FencedError), ledger.write() as connection:
        set_lease.note_subject_set(connection, lease, 1001, 5001, "old")
    with ledger.write() as connection:
        set_lease.note_subject_set(connection, again, 1001, 5001, "new")
        set_lease.drop(connection, again)
    assert lease_of(second) is not None
    assert lease_of(first) is None
    with ledger.write() as connection:
        runs.end(connection, second, "done")
    assert lease_of(first) is not None  # whose run has ended holds nothing
    assert lease_of(second) is None  # and gets nothing


def test_a_broken_write_leaves_nothing_half_done(new_ledger) -> None:
    ledger = new_ledger(2)
    before = captures(ledger)
    with pytest.raises(RuntimeError), ledger.atomic_run("x", {}) as (connection, run_id):
        claims.claim(connection, run_id, 1, 1, 5)
        raise RuntimeError
    assert captures(ledger) == before
    assert one(ledger, "SELECT count(*) AS n FROM run WHERE verb = 'x'").n == 0


def test_a_write_whose_connection_breaks_again_and_again_says_so(new_ledger) -> None:
    ledger, tried = new_ledger(1), []

    def lost(connection) -> None:
        tried.append(connection)
        raise LedgerLostError("the server went away")

    with pytest.raises(LedgerLostError, match="went away"):
        ledger.do(lost)
    assert len(tried) > 1


def test_writers_wait_for_each_other(new_ledger) -> None:
    """Eight processes claim one by one: each capture goes to one of them, and nobody sees a busy ledger."""
    ledger = new_ledger(160)
    code = (
        "import sys\n"
        "from ctstate.ledger import Ledger, claims, runs\n"
        "ledger = Ledger.open(sys.argv[1])\n"
        "with ledger.write() as c: run = runs.start(c, 'upload', {})\n"
        "while True:\n"
        "    with ledger.write() as c: got = claims.claim(c, run, 1, 1, 1)\n"
        "    if not got: break\n"
        "    print(got[0].capture_id)\n"
    )
    command = [sys.executable, "-c", code, ledger.name]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in outputs if error] == []
    claimed = [line for output, _ in outputs for line in output.split()]
    assert sorted(claimed) == sorted(f"S#A#1#{n}" for n in range(1, 161))


def test_a_run_that_ended_by_itself_meanwhile_stays_as_it_ended(new_ledger) -> None:
    """Between the look that found it dead and the write that says so."""
    ledger = new_ledger(1)
    run = start(ledger)
    with ledger.write() as connection:
        runs.end(connection, run, "done", "all is uploaded")
    before = one(ledger, "SELECT * FROM run WHERE id = :r", r=run)
    with ledger.write() as connection:
        runs.recover(connection, [run])
    assert one(ledger, "SELECT * FROM run WHERE id = :r", r=run) == before


def test_so_many_of_those_that_ended_are_told_however_many_are_alive(new_ledger) -> None:
    ledger = new_ledger(1)
    some = [start(ledger) for _ in range(5)]
    with ledger.write() as connection:
        for run in some[:3]:
            runs.end(connection, run, "done")
    with ledger.read() as connection:
        assert [row.id for row in runs.newest(connection, 2)] == some[1:]


def test_how_fast_uploads_were_is_said_by_those_that_were_long_enough(new_ledger) -> None:
    ledger = new_ledger(60)
    uploaded_by(ledger, start(ledger), 19, 100)
    with ledger.read() as connection:
        assert speeds.seen(connection) == [], "too few to tell"
    uploaded_by(ledger, start(ledger), 20, 10)
    with ledger.write() as connection:
        other = runs.start(connection, "reconcile", {})
    uploaded_by(ledger, other, 20, 10)
    with ledger.read() as connection:
        (speed,) = speeds.seen(connection)
    assert speed.workers == 1
    assert speed.rate == pytest.approx(2, rel=0.2)


def test_runs_are_told_from_each_other_by_host(new_ledger) -> None:
    here = processes.this_process()
    assert here.pid == os.getpid()
    assert here.pid_started.isdigit()


class Cluster:
    """What a scheduler says, as a test wants it: the job of this process, and which jobs have ended."""

    def __init__(self, here: Job, ended: Collection[Job] = ()) -> None:
        self.here, self.ended = here, ended
        self.looked: list[list[int]] = []

    def of_this_process(self) -> Job:
        return self.here

    def look(self, runs: Mapping[int, Job], keep: float | None = None) -> None:
        self.looked.append(list(runs))

    def gone(self, run_id: int, job: Job, silent: float) -> bool:
        return job in self.ended and any(run_id in known for known in self.looked)

    def supersedes(self, job: Job, other: Job) -> bool:
        return (job.job, job.task) == (other.job, other.task) and job.restarts > other.restarts


def test_a_run_whose_job_has_ended_is_recovered(new_ledger) -> None:
    path = new_ledger(3).name
    job = Job("here", 1, "17", "3", 0)
    with Ledger.open(path, jobs=Cluster(job)) as ledger:
        live = ledger.live_run("upload", {"season": "S"})
        take(ledger, live.id)
        assert tuple(one(ledger, "SELECT slurm_job, slurm_task FROM run WHERE id = :r", r=live.id)) == ("17", "3")
        assert one(ledger, "SELECT arguments FROM run WHERE id = :r", r=live.id).arguments == '{"season": "S"}'
        elsewhere(ledger, live.id)
        with Ledger.open(path) as knows_no_jobs:
            assert knows_no_jobs.recover() == 0
        cluster = Cluster(Job("here", 1, "18", None, 0), ended=[job])
        with Ledger.open(path, jobs=cluster) as other:
            assert other.recover() == 0
            assert cluster.looked == [], "its heartbeat tells that it lives: nobody else is asked"
            silent_for(ledger, live.id, 16)
            cluster.ended = []
            assert other.recover() == 0
            cluster.ended = [job]
            assert other.recover() == 3
        assert cluster.looked == [[live.id], [live.id]]
        live.end("done")
        assert one(ledger, "SELECT outcome FROM run WHERE id = :r", r=live.id).outcome == "lost"


def test_a_run_whose_job_has_begun_anew_is_recovered(new_ledger) -> None:
    path = new_ledger(3).name
    with Ledger.open(path, jobs=Cluster(Job("here", 1, "17", "3", 0))) as ledger:
        first = ledger.live_run("upload", {})
        take(ledger, first.id)
        elsewhere(ledger, first.id)
        requeued = Cluster(Job("here", 1, "17", "3", 1))
        with Ledger.open(path, jobs=requeued) as again, again.live_run("upload", {}):
            assert again.recover() == 3
        first.end("done")
