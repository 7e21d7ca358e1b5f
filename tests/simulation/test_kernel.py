"""The simulator itself: what it promises to the seasons that run on it."""

import gc
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from sqlalchemy import text

from ctstate.errors import CtstateError, LedgerError, UnavailableError
from ctstate.ledger.schema import meta
from ctstate.machine import machine, running_on
from ctstate.zooniverse import Backoff, Timeouts
from tests.builders.ledgers import of_files
from tests.simulation.kernel import Kernel, Killed, Stuck, Task, Violation
from tests.simulation.season import template as season_template
from tests.simulation.sim_ledger import SimLedger, new_database
from tests.simulation.sim_machine import EPOCH, SimLock, SimMachine, TaskLocal
from tests.simulation.sim_zooniverse import (
    AFTER,
    BEFORE,
    CALM,
    LATE,
    NEVER_SENT,
    SERVER_DONE_S,
    STORM,
    SimZooniverse,
    ZooniverseModel,
)

PROJECT = 1001
IMAGE = b"an image, as far as the store can tell"


class Season:
    """A kernel with all that belongs to it."""

    def __init__(self, seed: int = 1, rates: Any = CALM, *, calm: bool = True, **how: Any) -> None:
        self._exit = ExitStack()
        self.kernel = self._exit.enter_context(Kernel(seed, **how))
        if calm:
            self.kernel.delays = (0.0, 0.0)
            self.kernel.lock_pauses = 0.0
        self._exit.enter_context(running_on(SimMachine(self.kernel)))
        self.database = new_database()
        self._exit.callback(self.database.close)
        self.model = self._exit.enter_context(ZooniverseModel(self.kernel, rates=rates))

    def close(self) -> None:
        self._exit.close()

    def go(self, *functions: Callable[[], Any], **how: Any) -> None:
        """Run each function in a worker of its own, to the end."""
        for number, function in enumerate(functions):
            self.kernel.process(f"w{number}", function)
        self.kernel.run(**how)

    def ledger(self) -> SimLedger:
        return SimLedger(self.kernel, self.database)

    def zooniverse(self, **how: Any) -> SimZooniverse:
        return SimZooniverse(self.model, backoff=Backoff(0.1, 1.0, 120.0), **how)

    def noted(self) -> dict[str, str]:
        with SimLedger.outside(self.database).read() as connection:
            rows = connection.execute(meta.select()).all()
        return {row.name: row.value for row in rows}


@pytest.fixture
def season() -> Iterator[Season]:
    one = Season()
    yield one
    one.close()


def note(ledger: SimLedger, name: str, value: str = "x") -> None:
    with ledger.write() as connection:
        connection.execute(meta.insert().values(name=name, value=value))


# -- chance ----------------------------------------------------------------------------------------------------


def stormy(seed: int, suppressed: frozenset[int] = frozenset(), only: frozenset[int] | None = None) -> Kernel:
    """A season with everything in it; returns what became of it."""
    one = Season(seed, STORM, calm=False, suppressed=suppressed, only=only)
    kernel = one.kernel
    kernel.dangers = {"*": (0.01, 0.005)}
    kernel.suspensions_s = ((1.0, 60.0),)

    def work() -> None:
        ledger, zooniverse = one.ledger(), one.zooniverse()
        changed = machine().condition()
        made: list[int] = []

        def create() -> None:
            for number in range(4):
                try:
                    subject = zooniverse.create_subject(PROJECT, ["image/jpeg"], {"#capture_id": str(number)}, "m")
                except CtstateError as error:
                    kernel.say(str(error))
                    continue
                with changed:
                    made.append(subject.id)
                    changed.notify_all()

        threads = [machine().thread(create, f"t{number}") for number in range(2)]
        for _ in range(6):
            with changed:
                if not made:
                    changed.wait(5.0)
                got, made[:] = list(made), []
            for key in got:
                with ledger.write() as connection:
                    connection.execute(meta.delete().where(meta.c.name == str(key)))
                    connection.execute(meta.insert().values(name=str(key), value="made"))
        for thread in threads:
            thread.join()

    def begin(number: int) -> None:
        worker = kernel.process(f"w{number}", work, skew=60.0 * number)
        worker.on_end = lambda how: kernel.after(3.0, lambda: begin(number)) if how == "killed" else None

    for number in range(3):
        begin(number)
    try:
        kernel.run(limit_s=100_000)
    finally:
        one.close()
    return kernel


def test_a_seed_is_a_season() -> None:
    first, again, other = stormy(7), stormy(7), stormy(8)
    assert first.trace == again.trace
    assert first.struck == again.struck
    assert (first.fingerprint, first.steps, first.time) == (again.fingerprint, again.steps, again.time)
    assert first.trace != other.trace
    assert "was killed" in first.trace
    assert len(first.struck) > 10


@pytest.mark.parametrize("hashes", ["0", "1234"])
def test_a_seed_is_a_season_in_another_process(hashes: str) -> None:
    program = "from tests.simulation.test_kernel import stormy; k = stormy(7); print(k.fingerprint); print(k.trace)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    here = stormy(7)
    assert done.stdout == f"{here.fingerprint}\n{here.trace}\n"
    assert "Exception ignored" not in done.stderr


def test_what_comes_before_a_suppressed_accident_stays_as_it_was() -> None:
    whole = stormy(7)
    number, name = whole.struck[-1]
    without = stormy(7, frozenset({number}))
    assert number not in dict(without.struck)
    before = whole.trace.partition(f"accident {number}: {name}")[0].rpartition("\n")[0]
    assert len(before.splitlines()) >= 50
    assert without.trace.startswith(before)


def test_only_those_accidents_strike_that_may() -> None:
    first = stormy(7).struck[:2]
    assert [number for number, _ in stormy(7, only=frozenset(n for n, _ in first)).struck] == [n for n, _ in first]


# -- kills -----------------------------------------------------------------------------------------------------


def test_a_kill_has_no_effect_after_it(season: Season, capfd: pytest.CaptureFixture[str]) -> None:
    kernel = season.kernel
    reached: list[str] = []

    def work() -> None:
        ledger, zooniverse = season.ledger(), season.zooniverse()
        zooniverse.me()
        happened = machine().event()

        def last_words(name: str) -> Iterator[None]:
            try:
                yield
            finally:  # by the collector, in no task at all
                note(ledger, f"generator {name}")

        def other() -> None:
            words = last_words("other")
            next(words)
            try:
                happened.wait()
            finally:
                tries: list[Callable[[], Any]] = [
                    lambda: note(ledger, "from the dead"),
                    lambda: zooniverse.create_subject(PROJECT, [], {}, "from the dead"),
                    lambda: zooniverse.session.get("https://zooniverse.test/api/me"),
                    lambda: machine().sleep(1.0),
                    lambda: machine().thread(lambda: reached.append("thread"), "after death"),
                    lambda: kernel.pause("x"),
                    happened.set,
                    happened.wait,
                    machine().condition().__enter__,
                ]
                for attempt in tries:
                    try:
                        attempt()
                    except Killed:
                        reached.append("killed again")
                    else:
                        reached.append("alive")
                note(ledger, "from the dead as well")

        machine().thread(other, "other")
        words = last_words("main")
        next(words)
        machine().sleep(10.0)
        reached.append("slept")

    worker = kernel.process("w", work)
    kernel.after(5.0, lambda: kernel.kill(worker))
    kernel.run()
    assert reached == ["killed again"] * 9
    assert not [name for name in season.noted() if "dead" in name or "generator" in name]
    assert not season.model.world.subjects
    assert kernel.violations == []
    assert not kernel.workers
    season.close()
    gc.collect()
    assert capfd.readouterr().err == ""


def test_a_task_that_catches_every_kill_is_cut_off(season: Season) -> None:
    kernel = season.kernel

    def stubborn() -> None:
        while True:
            with suppress(BaseException):
                machine().sleep(1.0)

    worker = kernel.process("w", stubborn)
    kernel.process("other", lambda: machine().sleep(100.0))
    kernel.after(5.5, lambda: kernel.kill(worker))
    kernel.stop_at_violation = False
    kernel.run()
    assert kernel.time == 100.0
    assert len(kernel.violations) == 1
    assert "w/main catches everything" in kernel.violations[0]


def test_a_worker_may_kill_another_in_the_middle(season: Season) -> None:
    kernel = season.kernel
    reached: list[int] = []

    def victim() -> None:
        for number in range(100):
            kernel.pause("x")
            reached.append(number)

    worker = kernel.process("victim", victim)

    def murderer() -> None:
        while len(reached) < 10:
            kernel.pause("x")
        kernel.kill(worker)
        seen = len(reached)
        kernel.pause("x")
        assert len(reached) == seen

    season.go(murderer)
    assert 10 <= len(reached) < 100


def test_a_process_ends_with_its_main_function(season: Season) -> None:
    kernel = season.kernel
    ended: list[str] = []

    def work() -> None:
        def beat() -> None:
            while True:
                machine().sleep(1.0)

        machine().thread(beat, "heartbeat")
        machine().sleep(10.0)

    worker = kernel.process("w", work)
    worker.on_end = ended.append
    kernel.run()
    assert ended == ["ended"]
    assert kernel.time == 10.0


def test_ten_thousand_kills_leave_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    def once(kills: int) -> None:
        one = Season(calm=False, tracing=False)
        kernel = one.kernel
        kernel.dangers = {"*": (0.2, 0.0)}
        left = [kills]

        def work() -> None:
            ledger, zooniverse = one.ledger(), one.zooniverse()
            machine().thread(lambda: machine().sleep(1000.0), "waits")
            with ledger.read():
                pass
            zooniverse.token_is_alive("x")
            machine().sleep(1.0)

        def begin(_: str = "") -> None:
            left[0] -= 1
            if left[0] >= 0:
                kernel.process("w", work).on_end = begin

        begin()
        kernel.run()
        assert not kernel.workers
        one.close()

    once(1000)
    gc.collect()
    objects, memory = len(gc.get_objects()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(5):
        once(2000)
    gc.collect()
    assert len(gc.get_objects()) < objects + 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < memory + 30 * 1024
    assert capfd.readouterr().err == ""


def test_an_error_that_nobody_caught_is_a_violation(season: Season) -> None:
    def work() -> None:
        raise ValueError("nobody caught it")

    with pytest.raises(Violation, match="w0/main ended with an error") as told:
        season.go(work)
    assert "raise ValueError" in str(told.value)


# -- time and waiting ------------------------------------------------------------------------------------------


def test_time_is_virtual_and_in_order(season: Season) -> None:
    order: list[tuple[str, float]] = []

    def sleeper(name: str, *naps: float) -> Callable[[], None]:
        def work() -> None:
            for nap in naps:
                machine().sleep(nap)
                order.append((name, season.kernel.time))

        return work

    season.go(sleeper("a", 3600, 1), sleeper("b", 7200), sleeper("c", 0.5, 0, 10))
    assert order == [("c", 0.5), ("c", 0.5), ("c", 10.5), ("a", 3600), ("a", 3601), ("b", 7200)]


def test_clocks_differ_between_workers(season: Season) -> None:
    kernel = season.kernel
    seen: dict[str, tuple[float, float, float]] = {}

    def work() -> None:
        before = machine().monotonic()
        machine().sleep(10.0)
        assert kernel.current is not None
        seen[kernel.current.worker.name] = (machine().wall(), before, machine().monotonic() - before)

    kernel.process("right", work)
    kernel.process("ahead", work, skew=300.0)
    kernel.run()
    assert seen["right"][0] == EPOCH + 10.0
    assert seen["ahead"][0] == EPOCH + 310.0
    assert seen["right"][1] != seen["ahead"][1]
    assert seen["right"][2] == pytest.approx(10.0)


def test_a_suspended_worker_stands_still_while_time_goes_on(season: Season) -> None:
    kernel = season.kernel
    ticks: list[tuple[float, float]] = []

    def work() -> None:
        began = machine().monotonic()
        while len(ticks) < 4:
            machine().sleep(1.0)
            ticks.append((kernel.time, machine().monotonic() - began))

    worker = kernel.process("w", work)
    kernel.after(2.5, lambda: kernel.suspend(worker, 600.0))
    kernel.run()
    assert [pytest.approx(moment) for moment, _ in ticks] == [1.0, 2.0, 602.5, 603.5]
    assert ticks[2][1] == pytest.approx(602.5)


def test_conditions_events_and_joins(season: Season) -> None:
    kernel, told = season.kernel, []

    def work() -> None:
        condition, event = machine().condition(), machine().event()
        queue: list[str] = []

        def consumer() -> None:
            with condition:
                while not queue:
                    assert condition.wait() is True
                told.append((queue.pop(), kernel.time))

        def producer() -> None:
            machine().sleep(5.0)
            with condition, condition:
                queue.append("thing")
                condition.notify_all()

        threads = [machine().thread(consumer, "c"), machine().thread(producer, "p")]
        with condition:
            assert condition.wait(2.0) is False
        assert kernel.time == 2.0
        threads[0].join(1.0)
        assert kernel.time == 3.0
        for thread in threads:
            thread.join()
        assert kernel.time == 5.0
        assert event.wait(0.5) is False
        machine().thread(event.set, "s")
        assert event.wait(0.5) is True
        assert event.is_set()
        assert event.wait() is True
        assert kernel.time == 5.5
        assert machine().each(lambda x: x * 2, [1, 2, 3], 8) == [2, 4, 6]

    season.go(work)
    assert told == [("thing", 5.0)]


def test_a_lock_that_may_be_held_lets_one_in_at_a_time(season: Season) -> None:
    kernel, inside, most = season.kernel, [0], [0]

    def work() -> None:
        lock = SimLock(kernel)

        def enter() -> None:
            with lock, lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                machine().sleep(1.0)
                inside[0] -= 1

        for thread in [machine().thread(enter, f"t{number}") for number in range(5)]:
            thread.join()

    season.go(work)
    assert (kernel.time, most) == (5.0, [1])


def test_each_task_has_a_memory_of_its_own(season: Season) -> None:
    seen = []

    def work() -> None:
        mine = TaskLocal(season.kernel)

        def remember(value: int) -> None:
            assert not hasattr(mine, "value")
            mine.value = value
            machine().sleep(1.0)
            seen.append(mine.value == value)

        for thread in [machine().thread(lambda n=n: remember(n), "t") for n in range(3)]:  # type: ignore[misc]
            thread.join()

    season.go(work)
    assert seen == [True, True, True]


@pytest.mark.parametrize("what", ["sleep", "request", "transaction", "other condition", "join"])
def test_holding_a_lock_while_something_foreign_runs_is_a_violation(season: Season, what: str) -> None:
    def work() -> None:
        condition, other, zooniverse = machine().condition(), machine().condition(), season.zooniverse()
        thread = machine().thread(lambda: None, "t")
        assert isinstance(thread, Task)
        with other, condition:
            {
                "sleep": lambda: machine().sleep(1.0),
                "request": zooniverse.me,
                "transaction": lambda: note(season.ledger(), "x"),
                "other condition": lambda: condition.wait(1.0),
                "join": thread.join,
            }[what]()

    with pytest.raises(Violation, match="holds a lock while something foreign runs"):
        season.go(work)


@pytest.mark.parametrize("what", ["sleep", "request", "write", "pause"])
def test_something_foreign_inside_of_a_transaction_is_a_violation(season: Season, what: str) -> None:
    def work() -> None:
        ledger, zooniverse = season.ledger(), season.zooniverse()
        with ledger.write():
            {
                "sleep": lambda: machine().sleep(1.0),
                "request": zooniverse.me,
                "write": lambda: note(ledger, "x"),
                "pause": lambda: season.kernel.pause("x"),
            }[what]()

    with pytest.raises(Violation, match="holds a transaction while something foreign runs"):
        season.go(work)


def test_a_deadlock_is_told(season: Season) -> None:
    def work() -> None:
        machine().sleep(3.0)
        machine().event().wait()

    with pytest.raises(Stuck, match=r"nobody can run any more at t=3\.000") as told:
        season.go(work)
    assert "w0/main waits for an event" in str(told.value)
    assert "machine().event().wait()" not in str(told.value)  # frames of the simulation are left out


def test_limits_are_told(season: Season) -> None:
    def nap() -> None:
        while True:
            machine().sleep(1.0)

    def spin() -> None:
        while True:
            season.kernel.pause("x")

    with pytest.raises(Stuck, match="at the time that was the limit"):
        season.go(nap, limit_s=100.0)
    with pytest.raises(Stuck, match="still at it after 1,000 steps"):
        season.go(spin, limit_steps=1000)


def test_it_runs_until_something_holds(season: Season) -> None:
    def nap() -> None:
        while True:
            machine().sleep(1.0)

    season.go(nap, until=lambda: season.kernel.time >= 7.0)
    assert season.kernel.time == 7.0
    season.kernel.run(until=lambda: season.kernel.time >= 7.5, limit_s=0.5)  # also where nothing happens then
    assert season.kernel.time == 7.5


# -- the ledger ------------------------------------------------------------------------------------------------


def test_transactions_of_many_tasks_do_not_mix(season: Season) -> None:
    def work() -> None:
        ledger = season.ledger()
        for _ in range(20):
            with ledger.write() as connection:
                value = connection.execute(text("SELECT value FROM meta WHERE name = 'n'")).scalar()
                if value is None:
                    connection.execute(meta.insert().values(name="n", value="1"))
                else:
                    connection.execute(meta.update().where(meta.c.name == "n").values(value=str(int(value) + 1)))

    season.go(work, work, work)
    assert season.noted()["n"] == "60"


def test_lent_connections_have_temporary_tables_of_their_own(season: Season) -> None:
    def work() -> None:
        ledger = season.ledger()
        for _ in range(3):
            with ledger.connection() as connection:
                with ledger.write(connection) as inside:
                    inside.execute(text("CREATE TEMPORARY TABLE mine (x bigint)"))
                with ledger.write(connection) as inside:
                    inside.execute(text("INSERT INTO mine VALUES (1)"))
                with ledger.read(connection) as inside:
                    assert inside.execute(text("SELECT count(*) FROM mine")).scalar() == 1

    season.kernel.dangers = {"*": (0.02, 0.0)}
    season.go(*[work] * 8)
    assert season.kernel.violations == []


def test_a_backup_is_put_back(season: Season) -> None:
    season.go(lambda: note(season.ledger(), "first"))
    backup = season.database.snapshot()
    season.go(lambda: note(season.ledger(), "second"))
    assert {"first", "second"} <= season.noted().keys()
    season.database.put_back(backup)
    assert "second" not in season.noted()
    season.go(lambda: note(season.ledger(), "third"))
    assert {"first", "third"} <= season.noted().keys()


def test_triggers_see_the_virtual_time(season: Season) -> None:
    season.database.put_back(season_template(season.database, 1, 0, 1))
    told = []

    def work() -> None:
        machine().sleep(61.5)
        ledger = season.ledger()
        with ledger.write() as connection:
            connection.execute(text("UPDATE capture SET state = 'predicted'"))  # without a time
        with ledger.read() as connection:
            told.append(connection.execute(text("SELECT at FROM event ORDER BY id DESC LIMIT 1")).scalar())

    season.go(work)
    assert told[0].startswith("2026-11-01T00:01:01.500")


@of_files
def test_a_ledger_that_cannot_be_written_says_so(season: Season) -> None:
    errors = []

    def work() -> None:
        for rates in ({"busy": 1.0}, {"full": 1.0}):
            season.database.rates = rates
            try:
                note(season.ledger(), "x")
            except LedgerError as error:
                errors.append(str(error))
        season.database.rates = {}
        note(season.ledger(), "y")

    season.go(work)
    assert ["locked" in errors[0], "disk is full" in errors[1]] == [True, True]
    assert "y" in season.noted()
    assert "x" not in season.noted()


# -- Zooniverse ------------------------------------------------------------------------------------------------


def created_with(kind: str, seed: int = 3) -> tuple[Season, list[Any]]:
    """One POST of a subject that has one accident; returns what came of it."""
    one = Season(seed)
    got: list[Any] = []

    def work() -> None:
        zooniverse = one.zooniverse(timeouts=Timeouts(15.0, 20.0, 20.0))
        zooniverse.me()
        one.model.rates = {f"{kind}:create subject": 1.0}
        try:
            got.append(zooniverse.create_subject(PROJECT, ["image/jpeg"], {}, "mark"))
        except UnavailableError as error:
            got.append(error)
        got.append(len(one.model.world.subjects))
        got.append(one.kernel.time)

    one.go(work)
    return one, got


@pytest.mark.parametrize("kind", [*NEVER_SENT, *BEFORE, *AFTER, *LATE])
def test_a_create_that_fails_says_whether_it_may_have_been_done(kind: str) -> None:
    one, (error, _, _) = created_with(kind)
    done = len(one.model.world.subjects)
    one.close()
    assert isinstance(error, UnavailableError), kind
    assert done == (kind in AFTER or kind in LATE)
    if done:
        assert error.maybe_done
    if kind in ("refused", "no such host", "connect timeout", "proxy refused", "tunnel refused", "busy"):
        assert not error.maybe_done
    if kind == "busy":
        assert error.retry_after is not None
    assert one.model.accidents == {(kind, "create subject"): 1}
    assert one.model.works["create subject"] == done


def test_a_late_create_is_done_without_its_client() -> None:
    later = 0
    for seed in range(10):
        one, (error, at_once, moment) = created_with("late timeout", seed)
        assert isinstance(error, UnavailableError)
        subjects = list(one.model.world.subjects.values())
        one.close()
        assert len(subjects) == 1
        later += at_once == 0
        # The client waited for 20 s, and the server is done 65 s after it was asked.
        assert moment - 20.0 - 1.0 < subjects[0].created - EPOCH < moment - 20.0 + SERVER_DONE_S
    assert later >= 2


def test_a_request_outlives_its_client(season: Season) -> None:
    kernel = season.kernel

    def work() -> None:
        zooniverse = season.zooniverse()
        zooniverse.me()
        kernel.after(0.001, lambda: kernel.kill(worker))
        zooniverse.create_subject(PROJECT, ["image/jpeg"], {}, "mark")
        raise AssertionError("it was killed")

    worker = kernel.process("w", work)
    kernel.run()
    assert len(season.model.world.subjects) == 1


def put(one: Season, kind: str) -> tuple[Any, Any]:
    """One PUT of an image that has an accident at its first try; what came of it, and what the store then has."""
    got: list[Any] = []

    def work() -> None:
        zooniverse = one.zooniverse()
        subject = zooniverse.create_subject(PROJECT, ["image/jpeg"], {}, "mark")
        one.model.rates = {f"{kind}:put image": 1.0, f"{kind}:head image": 1.0} if kind else CALM
        one.kernel.after(1.0, lambda: setattr(one.model, "rates", CALM))
        try:
            got.append(zooniverse.put_image(subject.urls[0], IMAGE, "image/jpeg", hashlib.md5(IMAGE).hexdigest()))
        except CtstateError as error:
            got.append(error)

    one.go(work)
    [image] = one.model.world.images.values()
    return got[0], one.model.blobs.read(image) if image.arrived else None


@pytest.mark.parametrize("kind", ["", "body cut", "reset after", "status before", "tls error after"])
def test_an_image_arrives_in_the_end(season: Season, kind: str) -> None:
    answer, stored = put(season, kind)
    assert answer is not False
    assert stored == IMAGE
    assert (season.model.requests["put image"] > 1) == bool(kind)


def test_a_portal_stores_nothing(season: Season) -> None:
    answer, stored = put(season, "portal")
    assert stored is None
    assert answer is not True
    assert season.model.accidents["portal", "put image"] >= 1


def test_an_expired_url_is_refused(season: Season) -> None:
    answer, stored = put(season, "url expired")
    assert getattr(answer, "status", None) == 403
    assert stored is None


def test_a_portal_window_and_an_outage_pass(season: Season) -> None:
    season.model.outage_s = season.model.portal_s = (20.0, 20.0)
    moments: list[float] = []

    def work() -> None:
        zooniverse = season.zooniverse()
        zooniverse.me()
        for kind in ("outage", "offline"):
            season.model.rates = {kind: 1.0}
            season.kernel.after(0.001, lambda: setattr(season.model, "rates", CALM))
            moments.append(season.kernel.time)
            zooniverse.me()
            moments.append(season.kernel.time)
        season.model.rates = {"portal window": 1.0}
        season.kernel.after(0.001, lambda: setattr(season.model, "rates", CALM))
        page = zooniverse._images.get("https://zooniverse.test/blob/x.jpeg")
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        machine().sleep(20.0)
        assert zooniverse._images.get("https://zooniverse.test/blob/x.jpeg").status_code == 404

    season.go(work)
    assert moments[1] - moments[0] >= 20.0
    assert moments[3] - moments[2] >= 20.0


@pytest.mark.parametrize("kind", ["token forgotten", "token expired"])
def test_a_token_that_dies_is_noticed(season: Season, kind: str) -> None:
    def work() -> None:
        zooniverse = season.zooniverse()
        subject = zooniverse.create_subject(PROJECT, ["image/jpeg"], {}, "mark")
        season.model.rates = {f"{kind}:list subjects": 1.0, f"{kind}:show subject": 1.0, f"{kind}:me": 0.5}
        season.kernel.after(60.0, lambda: setattr(season.model, "rates", CALM))
        for _ in range(20):
            machine().sleep(5.0)
            try:
                rows = list(zooniverse.newest_subjects(PROJECT))
                assert [row.id for row in rows] == [subject.id]
                assert zooniverse.subject(subject.id)[0].id == subject.id
            except UnavailableError as error:
                season.kernel.say(str(error))

    season.go(work)
    assert season.model.accidents[kind, "list subjects"] > 1
    assert season.kernel.violations == []


def test_overlapping_links_calls_conflict(season: Season) -> None:
    statuses: list[int] = []
    season.model.after_work = lambda route, reply: statuses.append(reply.status_code) if "link" in route else None
    made: list[int] = []

    def prepare() -> None:
        zooniverse = season.zooniverse()
        made.append(zooniverse.ensure_set(PROJECT, "a set", {})[0].id)

    season.go(prepare)

    def work() -> None:
        zooniverse = season.zooniverse()
        for _ in range(10):
            subject = zooniverse.create_subject(PROJECT, [], {}, "mark")
            zooniverse.link_subjects(made[0], [subject.id])

    season.kernel.stop_at_violation = False
    season.go(work, work, work)
    assert 409 in statuses
    [only] = season.model.world.live_sets()
    assert len(only.members) == 30


def test_publishing_too_early_is_a_violation(season: Season) -> None:
    def work() -> None:
        zooniverse = season.zooniverse()
        set_id = zooniverse.ensure_set(PROJECT, "a set", {})[0].id
        subject = zooniverse.create_subject(PROJECT, ["image/jpeg"], {}, "mark")
        zooniverse.link_subjects(set_id, [subject.id])

    with pytest.raises(Violation, match="published before its images were whole"):
        season.go(work)


def test_one_thread_logs_in_for_all(season: Season) -> None:
    def work() -> None:
        zooniverse = season.zooniverse()

        def ask() -> None:
            zooniverse.me()

        for thread in [machine().thread(ask, f"t{n}") for n in range(6)]:
            thread.join()

    season.go(work)
    assert season.model.requests == {"sign-in page": 1, "sign in": 1, "token": 1, "me": 6}


def test_who_is_outside_may_ask_too(season: Season) -> None:
    zooniverse = season.zooniverse()
    found, is_new = zooniverse.ensure_set(PROJECT, "a set", {})
    assert is_new
    subject = zooniverse.create_subject(PROJECT, [], {}, "mark")
    assert season.model.state()["subject_sets"][0]["id"] == str(found.id)
    assert season.model.state()["subjects"][0]["id"] == str(subject.id)
