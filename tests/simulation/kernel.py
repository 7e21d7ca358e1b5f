"""The simulator's kernel: many workers in one thread, under a seeded scheduler, with a virtual clock.

A *worker* is a simulated process, a *task* a simulated thread of it (a greenlet). The product's code runs as it is,
and reaches the kernel through `SimMachine` (waiting, threads, clocks), `SimLedger` (transactions) and `SimSession`
(requests). Tasks change places at `pause` only, and only there accidents strike. Time goes on when nobody can run.

What is decided by chance comes from streams of the one seed, so that a seed is a whole season. For example::

    from ctstate.zooniverse import Credentials
    from ctstate.errors import CtstateError
    from ctstate.machine import running_on
    from ctstate.ledger.schema import meta
    from tests.simulation.kernel import Kernel
    from tests.simulation.sim_ledger import SimLedger, new_database
    from tests.simulation.sim_machine import SimMachine
    from tests.simulation.sim_zooniverse import STORM, SimZooniverse, ZooniverseModel

    database = new_database()  # for all seasons; fill it by SimLedger.outside(database), take database.snapshot()
    template = database.snapshot()

    def season(seed: int, suppressed: frozenset[int] = frozenset()) -> Kernel:
        with Kernel(seed, suppressed) as kernel, running_on(SimMachine(kernel)):
            database.put_back(template)
            with ZooniverseModel(kernel, rates=STORM) as model:
                kernel.dangers = {"*": (0.002, 0.001), "reply": (0.02, 0.005)}  # chance of kill, of suspend

                def work() -> None:
                    ledger = SimLedger(kernel, database)
                    zooniverse = SimZooniverse(model)
                    for _ in range(20):
                        try:
                            account = zooniverse.me()
                        except CtstateError as error:
                            kernel.say(f"no account: {error}")
                            continue
                        with ledger.write() as connection:
                            connection.execute(meta.update().values(value=account.login))

                def supervise() -> None:  # starts each worker anew when it was killed
                    for number in range(2):
                        kernel.after(0, lambda n=number: begin(n))

                def begin(number: int) -> None:
                    worker = kernel.process(f"w{number}", work, skew=90.0 * number)
                    worker.on_end = lambda how: how == "killed" and kernel.after(5.0, lambda: begin(number))

                supervise()
                kernel.run(limit_s=86400)  # until all is done, late requests too; raises Violation or Stuck
                return kernel  # kernel.trace, .struck, .fingerprint; model.counts, model.state()

A season that failed is made smaller by `suppressed`, or by `only`: the numbers of accidents that may strike. What
comes before the first accident that is taken away stays as it was, so begin with the last ones.
"""

import ctypes
import gc
import heapq
import io
import itertools
import logging
import random
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from greenlet import getcurrent, greenlet

MOST_REFUSALS = 50
"""A task of a dead worker that catches so many `Killed` will never end, and is cut off."""

_NO_DANGER = (0.0, 0.0)
_SIDES = {"send": "before", "reply": "after", "begin": "before", "commit": "after"}
_IDS = re.compile(r"[0-9a-f]{32}\.\w+|\d+(,\d+)*")
_closed = [0]  # kernels: a whole collection is dear, and one in twenty is enough


class Killed(BaseException):
    """The worker of this task is dead: nothing that it does has an effect any more."""


class Violation(AssertionError):  # noqa: N818 - a finding, not an error
    """What must hold does not."""


class Stuck(AssertionError):  # noqa: N818 - a finding, not an error
    """The simulation does not get on, although it is not at its end."""


class Task:
    """A simulated thread.

    Attributes:
        locks, transactions: how many of them it holds.
        waits_for: what it waits for; empty where it could run.
        done: whether it has ended.
        memory: what is this task's own (in place of a threading.local).
    """

    __slots__ = (
        "_greenlet", "_kernel", "done", "function", "joiners", "locks", "memory", "name", "number", "refusals",
        "ticket", "transactions", "waits_for", "woken", "worker",
    )  # fmt: skip

    def __init__(
        self, kernel: "Kernel", worker: "Worker", function: Callable[[], Any], name: str, number: int
    ) -> None:
        self._kernel = kernel
        self._greenlet: greenlet | None = None
        self.worker = worker
        self.function: Callable[[], Any] | None = function
        self.name = name
        self.number = number
        self.locks = 0
        self.transactions = 0
        self.waits_for = ""
        self.done = False
        self.memory: dict[str, Any] = {}
        self.joiners: list[tuple[Task, int]] = []
        self.refusals = 0
        self.ticket = 0  # each wait has a number of its own, so that nobody is woken from another wait
        self.woken = False

    def __str__(self) -> str:
        return f"{self.worker.name}/{self.name}"

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, by itself or by a kill."""
        kernel = self._kernel
        kernel.pause("wait", self.name)
        me = kernel.current
        if self.done or me is None:
            return
        self.joiners.append((me, me.ticket))
        kernel.park(f"the end of {self}", None if timeout is None else kernel.time + timeout)

    def stack(self) -> str:
        """Where it stands, for a person."""
        frame = self._greenlet.gr_frame if self._greenlet is not None else None
        if frame is None:
            return "        (not begun)\n" if not self.done else ""
        entries = [e for e in traceback.extract_stack(frame) if "tests/simulation/" not in e.filename]
        return "".join(f"        {e.filename}:{e.lineno} {e.name}: {e.line}\n" for e in entries[-4:])


class Worker:
    """A simulated process on a simulated host; make it with `Kernel.worker` or `Kernel.process`.

    Attributes:
        name: for the trace.
        skew: by how many seconds its wall clock is ahead; may be changed at any time.
        mortal: whether accidents strike it.
        alive: whether it was neither killed nor has ended.
        suspended_until: virtual time.
        tasks: those that have not ended, by number.
        main: the task with which the process ends.
        on_end: called once, in no task, with "killed" or "ended".
        host: where it is; its own name, unless told otherwise.
        verb: what it does, for whoever started it.
        pid: a number of its own.
        danger: by how much accidents strike it more often than others.
        host, verb: what it is, for who looks on.
    """

    def __init__(self, kernel: "Kernel", name: str, skew: float, mortal: bool, pid: int, offset: float) -> None:
        self.kernel = kernel
        self.name = name
        self.skew = skew
        self.mortal = mortal
        self.host = name
        self.verb = ""
        self.pid = pid
        self.offset = offset  # what its monotonic clock showed when the simulation began
        self.alive = True
        self.suspended_until = 0.0
        self.held: list[Task] = []  # could run if the worker were not suspended
        self.tasks: dict[int, Task] = {}
        self.main: Task | None = None
        self.on_end: Callable[[str], Any] | None = None
        self.danger = 1.0
        self.host = name
        self.verb = name

    @property
    def suspended(self) -> bool:
        """Whether it stands still."""
        return self.suspended_until > self.kernel.time


class Kernel:
    """One season's scheduler, clock and chance. Use it in a `with`.

    Args:
        seed: of all that is decided by chance.
        suppressed: numbers of accidents that do not strike.
        only: numbers of the only accidents that may strike; None for all.
        tracing: whether to keep a trace.

    Attributes:
        time: true seconds since the season began; no worker sees it as it is.
        current: the task that runs; None in callbacks and outside of `run`.
        dangers: for each kind of pause ("begin", "commit", "send", "reply", "sleep", "wait", "lock", "*" for all
            others) how likely a mortal worker is killed, and suspended, at each.
        seldom: steps (or the first ten letters of some, also of a verb's) that hardly ever come, and how much
            likelier danger is there, so that it strikes there, too.
        suspensions_s: between the two of one of these lies how long a worker is suspended.
        delays: how likely a task dawdles at a pause, and for how long at most, so that timers overtake it.
        stickiness: how likely a task just goes on at a pause.
        lock_pauses: how likely a task pauses before it takes a lock.
        stop_at_violation: whether `run` raises the first violation at once.
        violations: what did not hold.
        struck: the accidents that struck, as (number, name).
        steps: how often a task was given its turn.
        fingerprint: of the order in which tasks had their turns.
    """

    def __init__(
        self,
        seed: int,
        suppressed: frozenset[int] = frozenset(),
        only: frozenset[int] | None = None,
        tracing: bool = True,
    ) -> None:
        self.seed = seed
        self.suppressed = suppressed
        self.only = only
        self.time = 0.0
        self.current: Task | None = None
        self.scheduling = self.stream("scheduling")
        self.chance = self.stream("accidents")
        self.latencies = self.stream("latencies")
        random.seed(f"{seed} product")  # the product's jitter
        self.dangers: dict[str, tuple[float, float]] = {}
        self.seldom: dict[str, float] = {}
        self.suspensions_s: tuple[tuple[float, float], ...] = ((1.0, 900.0),)
        self.delays = (0.02, 1.0)
        self.stickiness = 0.0
        self.lock_pauses = 0.1
        self.stop_at_violation = True
        self.violations: list[str] = []
        self.struck: list[tuple[int, str]] = []
        self.where: Counter[tuple[str, str]] = Counter()  # step of a verb by what happened to its worker there
        self.asleep_at_create: set[int] = set()  # captures whose create was about to be sent by who was suspended
        self.tracing = tracing
        self._trace: list[str] = []
        self.steps = 0
        self.fingerprint = 0
        self.workers: dict[int, Worker] = {}  # those alive, by pid
        self._hub: Any = None
        self._runnable: list[Task] = []
        self._timers: list[tuple[float, int, Any, int]] = []
        self._sequence = itertools.count()
        self._numbers = itertools.count(1)
        self._condemned: list[tuple[Worker, str]] = []
        self._accident_number = 0
        self._hook: Any = None

    def stream(self, name: str) -> random.Random:
        """Return a stream of chance of its own, as the seed has it."""
        return random.Random(f"{self.seed} {name}")

    # -- the season ----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        # A collection in the middle would run finalizers of one worker in the task of another.
        self._collects = gc.isenabled()
        gc.disable()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all that still lives, without a sound."""
        self._timers.clear()
        self._hub = self._hub or getcurrent()
        for worker in list(self.workers.values()):
            worker.on_end = None
            self.kill(worker, "closed")
        self._bury()
        self._timers.clear()
        if self._hook is not None:
            _closed[0] += 1
            gc.collect(2 if _closed[0] % 20 == 0 else 1)
            sys.unraisablehook, self._hook = self._hook, None
            if self._collects:
                gc.enable()

    def _unraisable(self, about: Any) -> None:
        # Generators of the dead are closed when their frames go; what they then want is refused.
        if about.exc_type is not None and not issubclass(about.exc_type, (Killed, greenlet.GreenletExit)):
            text = "".join(traceback.format_exception(about.exc_type, about.exc_value, about.exc_traceback))
            self.violation(f"an exception that nobody saw, in {about.object!r}:\n{text}")

    def worker(self, name: str, skew: float = 0.0, *, mortal: bool = True) -> Worker:
        """Return a new process, without a task yet."""
        pid = next(self._numbers)
        worker = Worker(self, name, skew, mortal, pid, random.Random(f"{self.seed} {pid}").uniform(0, 1e6))
        self.workers[pid] = worker
        return worker

    def process(self, name: str, function: Callable[[], Any], skew: float = 0.0, *, mortal: bool = True) -> Worker:
        """Start a process: it ends, with all its tasks, when `function` has returned."""
        worker = self.worker(name, skew, mortal=mortal)
        worker.main = self.spawn(worker, function, "main")
        return worker

    def spawn(self, worker: Worker, function: Callable[[], Any], name: str) -> Task:
        """Start a task of a worker."""
        if self.current is not None and not self.current.worker.alive:
            self.refuse(self.current)
        if not worker.alive:
            raise Killed
        task = Task(self, worker, function, name, next(self._numbers))
        worker.tasks[task.number] = task
        self._ready(task)
        return task

    def at(self, when: float, function: Callable[[], Any]) -> None:
        """Call a function at a virtual time, in no task: it must not pause. No kill touches it."""
        heapq.heappush(self._timers, (when, next(self._sequence), function, -1))

    def after(self, seconds: float, function: Callable[[], Any]) -> None:
        """Call a function after so many seconds; see `at`."""
        self.at(self.time + seconds, function)

    def run(
        self,
        until: Callable[[], bool] | None = None,
        limit_s: float = 30 * 86400.0,
        limit_steps: int = 10_000_000,
    ) -> None:
        """Let everybody run.

        Args:
            until: asked after each step, and at the end of `limit_s`; None: until no task and no timer is left.
            limit_s: virtual seconds from now.
            limit_steps: steps from now.

        Raises:
            Stuck: nobody can run and nothing will happen any more, or a limit was reached.
            Violation: the first one, unless `stop_at_violation` is off.
        """
        self._hub = getcurrent()
        end, last_step = self.time + limit_s, self.steps + limit_steps
        runnable, timers, chance = self._runnable, self._timers, self.scheduling.random
        while True:
            if self._condemned:
                self._bury()
            if self.violations and self.stop_at_violation:
                raise Violation(self.violations[0])
            if until is not None and until():
                return
            if timers and timers[0][0] <= self.time:
                self._fire()
                continue
            if not runnable:
                if self._advance(end):
                    continue
                if timers:
                    if until is not None and until():
                        return
                    what = f"still at it at the time that was the limit (next at t={timers[0][0]:.3f})"
                    raise Stuck(f"{what}{self.who_waits()}")
                if until is None and not any(worker.tasks for worker in self.workers.values()):
                    return
                raise Stuck(f"nobody can run any more{self.who_waits()}")
            if self.steps >= last_step:
                raise Stuck(f"still at it after {limit_steps:,} steps{self.who_waits()}")
            self.steps += 1
            place = int(chance() * len(runnable))
            task = runnable[place]
            runnable[place] = runnable[-1]
            runnable.pop()
            self.fingerprint = (self.fingerprint * 1000003 + task.number) & 0xFFFFFFFFFFFF
            self._give_turn(task)

    def _give_turn(self, task: Task) -> None:
        this = task._greenlet
        if this is None:
            this = task._greenlet = greenlet(self._live)
            self.current = task
            this.switch(task)
        else:
            self.current = task
            this.switch()
        self.current = None

    def _advance(self, end: float) -> bool:
        """Let time go on to the next timer; return False where there is none, or only beyond the end."""
        timers = self._timers
        while timers and timers[0][3] >= 0 and timers[0][2].ticket != timers[0][3]:
            heapq.heappop(timers)  # of a wait that is over
        if not timers:
            return False
        if timers[0][0] > end:
            self.time = max(self.time, end)
            return False
        self.time = max(self.time, timers[0][0])
        self._fire()
        return True

    def _fire(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self.time:
            _, _, what, ticket = heapq.heappop(timers)
            if ticket < 0:
                what()
            elif what.ticket == ticket:
                self.wake(what, ticket, woken=False)

    def who_waits(self) -> str:
        """All tasks, with what each waits for, as text."""
        text = io.StringIO()
        text.write(f" at t={self.time:.3f}:\n")
        for worker in self.workers.values():
            if worker.suspended:
                text.write(f"    {worker.name} is suspended until t={worker.suspended_until:.3f}\n")
            for task in worker.tasks.values():
                text.write(f"    {task} waits for {task.waits_for or 'its turn'}\n{task.stack()}")
        return text.getvalue().rstrip()

    # -- tasks ---------------------------------------------------------------------------------------------

    def _live(self, task: Task) -> None:
        """The whole life of a task, in its greenlet."""
        try:
            assert task.function is not None
            task.function()
        except (Killed, Violation):
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
            if task.worker.alive:
                text = "".join(traceback.format_exception(error))
                self.violation(f"{task} ended with an error that nobody caught:\n{text}")
        self._ended(task)

    def _ended(self, task: Task) -> None:
        task.done = True
        task.function = None
        task._greenlet = None
        task.ticket += 1
        task.memory.clear()
        worker = task.worker
        worker.tasks.pop(task.number, None)
        for joiner, ticket in task.joiners:
            self.wake(joiner, ticket)
        task.joiners.clear()
        if task is worker.main and worker.alive:
            worker.alive = False
            self._condemned.append((worker, "ended"))

    def _ready(self, task: Task) -> None:
        task.waits_for = ""
        if task.worker.suspended_until > self.time:
            task.worker.held.append(task)
        else:
            self._runnable.append(task)

    def wake(self, task: Task, ticket: int, woken: bool = True) -> None:
        """Let a task go on that waits with this ticket; nothing happens where it no longer does."""
        if task.ticket == ticket and not task.done:
            task.ticket += 1
            task.woken = woken
            self._ready(task)

    def park(self, what: str, until: float | None = None) -> bool:
        """Let the current task wait until it is woken (`wake`, with its `ticket`), or until a virtual time.

        Returns:
            whether it was woken.
        """
        task = self.current
        if task is None:
            raise RuntimeError(f"outside of the simulation nobody can wait for {what}")
        self.check(task, what)
        if until is not None:
            heapq.heappush(self._timers, (until, next(self._sequence), task, task.ticket))
        task.waits_for = what
        self._hub.switch()
        return task.woken

    def check(self, task: Task, what: str) -> None:
        """Refuse the dead, and whoever holds what must not be held while others run."""
        if not task.worker.alive:
            self.refuse(task)
        if task.locks or task.transactions:
            held = "a lock" if task.locks else "a transaction"
            self.violation(f"{task} holds {held} while something foreign runs: {what}\n{_stack_here()}")
            task.refusals += 1
            if task.refusals > MOST_REFUSALS:
                self._cut_off(task)
            raise Violation(what)

    def refuse(self, task: Task) -> None:
        """Tell a task of a dead worker again that it is dead."""
        task.refusals += 1
        if task.refusals > MOST_REFUSALS:
            self._cut_off(task)
        raise Killed

    def _cut_off(self, task: Task) -> None:
        self.violation(f"{task} catches everything and does not end, though it was killed\n{_stack_here()}")
        # Its frames cannot be taken down; were they ever collected, it would go on.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(task._greenlet))
        while True:
            self._hub.switch()

    # -- pauses and accidents ------------------------------------------------------------------------------

    def pause(self, kind: str, detail: str = "") -> None:
        """Let others run, if chance has it so; here accidents strike."""
        task = self.current
        if task is None:
            return
        worker = task.worker
        if not worker.alive or task.locks or task.transactions:
            self.check(task, f"{kind} {detail}")
        if worker.mortal:
            self._endanger(worker, kind, detail)
        if self.stickiness and self.scheduling.random() < self.stickiness and not worker.suspended:
            return
        likely, longest = self.delays
        if likely and self.latencies.random() < likely:
            self.park(kind, self.time + self.latencies.random() * longest)
            return
        if worker.suspended_until > self.time:
            worker.held.append(task)
        else:
            self._runnable.append(task)
        self._hub.switch()

    def endanger(self, kind: str, detail: str = "") -> None:
        """As `pause`, but nobody else runs: for what waits right after, and must be woken by what happens next."""
        task = self.current
        if task is not None:
            self.check(task, f"{kind} {detail}")
            if task.worker.mortal:
                self._endanger(task.worker, kind, detail)

    def _endanger(self, worker: Worker, kind: str, detail: str) -> None:
        dangers = self.dangers
        kill, suspend = dangers.get(kind) or dangers.get("*") or _NO_DANGER
        if self.seldom and detail:
            more = max(self._seldom(worker, step) for step in detail.split(","))
            if more > 1.0:
                kill, suspend = min(0.4, kill * more), min(0.4, max(kill, suspend) * more)
        if worker.danger != 1.0:
            kill, suspend = kill * worker.danger, suspend * worker.danger
        number = self._strikes(kill)
        if number:
            self._struck(number, f"kill {worker.name} at {kind}")
            self.note_where("killed", worker, kind, detail)
            self.kill(worker, f"{kind} {detail}")
        number = self._strikes(suspend)
        if number:
            self._struck(number, f"suspend {worker.name} at {kind}")
            self.note_where("suspended", worker, kind, detail)
            low, high = self.latencies.choice(self.suspensions_s)
            self.suspend(worker, low + self.latencies.random() * (high - low))

    def _seldom(self, worker: Worker, step: str) -> float:
        known, few = self.seldom, step[:10]
        return known.get(f"{worker.verb}: {few}") or known.get(step) or known.get(few, 1.0)

    def note_where(self, what: str, worker: Worker, kind: str, detail: str) -> None:
        """Count that something befell a worker at a step, before or after it; or in it, where there is no kind."""
        side = _SIDES.get(kind) if kind else ""
        for step in detail.split(",") if side is not None and detail else ():
            self.where[f"{worker.verb}: {_IDS.sub('ID', step)}", f"{what} {side}".rstrip()] += 1

    def accident(self, name: str, probability: float) -> bool:
        """Tell whether this accident strikes; each call has the next number, whatever comes of it."""
        number = self._strikes(probability)
        if number:
            self._struck(number, name)
        return number > 0

    def _strikes(self, probability: float) -> int:
        self._accident_number = number = self._accident_number + 1
        if self.chance.random() >= probability or number in self.suppressed:
            return 0
        return number if self.only is None or number in self.only else 0

    def _struck(self, number: int, name: str) -> None:
        self.struck.append((number, name))
        self.say(f"accident {number}: {name}")

    def sleep(self, seconds: float) -> None:
        """Let the current task wait so many virtual seconds."""
        task = self.current
        if task is None:
            raise RuntimeError("outside of the simulation nobody can sleep")
        self.check(task, f"sleep {seconds:.3f}")
        if task.worker.mortal:
            self._endanger(task.worker, "sleep", "")
        self.park(f"{seconds:.3f} s to go by", self.time + max(0.0, seconds))

    def kill(self, worker: Worker, why: str = "") -> None:
        """End a worker on the spot, as SIGKILL does; raises Killed where the current task is one of its."""
        if not worker.alive:
            return
        if why != "closed":
            self.say(f"{worker.name} was killed ({why.strip()})" if why else f"{worker.name} was killed")
        worker.alive = False
        self._condemned.append((worker, "killed"))
        if self.current is None:
            self._bury()
        elif self.current.worker is worker:
            raise Killed

    def _bury(self) -> None:
        """Take down the tasks of dead workers; nothing that they still want to do has an effect."""
        if self._hub is not getcurrent():
            return  # by a callback of a finalizer, or the like: `run` does it
        while self._condemned:
            worker, how = self._condemned.pop()
            worker.held.clear()
            self._runnable[:] = [task for task in self._runnable if task.worker is not worker]
            for task in list(worker.tasks.values()):
                this = task._greenlet
                if this is not None and not this.dead:
                    self.current = task
                    this.throw(Killed)
                    self.current = None
                if not task.done:  # never begun, or cut off
                    self._ended(task)
            self.workers.pop(worker.pid, None)
            on_end, worker.on_end = worker.on_end, None
            if on_end is not None:
                on_end(how)

    def suspend(self, worker: Worker, seconds: float) -> None:
        """Let a worker stand still: none of its tasks runs, while its timers and its requests go on."""
        if not worker.alive:
            return
        until = self.time + seconds
        self.say(f"{worker.name} is suspended for {seconds:.1f} s")
        for task in worker.tasks.values():
            self.asleep_at_create |= {task.memory["creating"]} if "creating" in task.memory else set()
        if until <= worker.suspended_until:
            return
        worker.suspended_until = until
        worker.held += [task for task in self._runnable if task.worker is worker]
        self._runnable[:] = [task for task in self._runnable if task.worker is not worker]
        self.at(until, lambda: self._resume(worker))

    def _resume(self, worker: Worker) -> None:
        if worker.alive and worker.suspended_until <= self.time and worker.held:
            held, worker.held = worker.held, []
            self._runnable += held

    # -- what is told --------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Add a line to the trace; the dead say nothing."""
        if not self.tracing:
            return
        task = self.current
        if task is None:
            self._trace.append(f"t={self.time:.3f} -: {text}")
        elif task.worker.alive:
            self._trace.append(f"t={self.time:.3f} {task.worker.name}: {text}")

    @property
    def trace(self) -> str:
        """What was said so far."""
        return "\n".join(self._trace)

    def violation(self, text: str) -> None:
        """Something does not hold that must."""
        self.violations.append(f"t={self.time:.3f} {text}")
        self.say(f"VIOLATION: {text}")

    def log_handler(self, level: int = logging.INFO) -> logging.Handler:
        """Return a handler that puts the product's log into the trace."""
        return _LogHandler(self, level)


class _LogHandler(logging.Handler):
    def __init__(self, kernel: Kernel, level: int) -> None:
        super().__init__(level)
        self._kernel = kernel

    def emit(self, record: logging.LogRecord) -> None:
        self._kernel.say(f"log {record.levelname}: {record.getMessage()}")


def _stack_here() -> str:
    entries = [e for e in traceback.extract_stack() if "tests/simulation/" not in e.filename]
    return "".join(f"        {e.filename}:{e.lineno} {e.name}: {e.line}\n" for e in entries[-6:]).rstrip()
