"""One simulated season: workers and verbs on one ledger and one Zooniverse, while everything happens to them.

`Season(seed).play()` makes a small season, lets workers and verbs loose on it, strikes them with accidents, then
lets the storm end and a data manager bring the season to its end with the verbs' own advice, and checks the
invariant. All that is decided by chance comes from the seed; some seasons are calm and some are storms, as the seed
has it.

What happens: workers are killed, or suspended past their lease; each request can be lost in every way of
`sim_zooniverse`; workers' clocks are off by up to ten minutes; reconcile, adopt, remove, delete, retry,
update-metadata and verify run beside the uploads; colleagues delete sets and subjects; an older copy of the ledger
is put back.
"""

import contextlib
import hashlib
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from starlette.responses import Response

from ctstate.errors import CtstateError, LedgerBehindError
from ctstate.images import EncodedImage
from ctstate.ledger import Ledger, runs
from ctstate.ledger.clock import now
from ctstate.ledger.database import driver
from ctstate.ledger.facts import Moved
from ctstate.ledger.processes import Process
from ctstate.machine import running_on
from ctstate.verbs import upload as upload_module
from ctstate.verbs.adopt import adopt
from ctstate.verbs.choose import Wanted
from ctstate.verbs.delete import delete, plan_deletion
from ctstate.verbs.demo.invariant import violations
from ctstate.verbs.reconcile import reconcile
from ctstate.verbs.remove import plan_removal, remove
from ctstate.verbs.retry import retry
from ctstate.verbs.survey import ALL, DOUBTFUL, survey
from ctstate.verbs.update_metadata import update_metadata
from ctstate.verbs.upload import StopSignal, UploadOptions, commits, runner, upload
from ctstate.verbs.upload.encoding import WhenEncoded
from ctstate.verbs.upload.story import EncoderDiedError
from ctstate.verbs.verify import verify
from ctstate.zooniverse import Backoff
from ctstate.zooniverse.subject import CAPTURE_ID, read_mark
from tests.builders.ledgers import count_on
from tests.simulation.kernel import Kernel, Stuck, Violation, Worker
from tests.simulation.sim_ledger import SimDatabase, SimLedger, new_database
from tests.simulation.sim_machine import SimMachine
from tests.simulation.sim_zooniverse import (
    AFTER,
    BEFORE,
    CALM,
    KINDS,
    LATE,
    NEVER_SENT,
    ROUGH,
    TOKEN,
    WINDOWS,
    SimZooniverse,
    ZooniverseModel,
)

log = logging.getLogger("ctstate")

SORE: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("create subject", 4, (*LATE, *AFTER, *BEFORE)),
    ("create subject", 14, LATE),
    ("list subjects", 30, TOKEN),
    ("list subjects", 15, ("slow",)),
    ("put image", 4, ("portal", "url expired", "body cut")),
    ("put image", 10, ("no md5",)),  # so that the store is asked what it has
    ("head image", 20, ("no md5",)),  # so that images are asked for as well
    ("get image", 10, (*NEVER_SENT, *AFTER, *BEFORE)),
    ("get image", 30, ("portal window",)),
    ("head image", 10, ("portal window",)),
    *((route, 8, WINDOWS) for route in ("create subject", "change subject", "show subject", "link subjects")),
    *((route, 30, WINDOWS) for route in ("get image", "head image")),
    *((route, 30, WINDOWS) for route in ("delete subject", "unlink subjects", "list workflows", "list statuses")),
    *(
        (route, 12, (*NEVER_SENT, *BEFORE, *LATE, *AFTER, *TOKEN))
        for route in ("unlink subjects", "list workflows", "list statuses")
    ),
    ("delete subject", 25, (*NEVER_SENT, *BEFORE, *LATE, *AFTER, *TOKEN)),
    ("link subjects", 4, (*AFTER, *BEFORE)),
    ("create set", 4, (*LATE, *AFTER)),
)
"""Steps at which these accidents are so many times likelier than elsewhere."""

SELDOM = {
    "Moved failed": 12.0, "SubjectGone": 12.0, "GET /blob/": 6.0, "HEAD /blob": 3.0,
    "DELETE /ap": 10.0, "GET /api/w": 3.0, "PUT /api/s": 2.0,
    "adopt: GET /blob/": 60.0, "reconcile: PUT /api/s": 30.0, "delete: GET /api/su": 8.0,
    "remove: GET /api/su": 8.0, "update-metadata: GET /api/su": 15.0,
}  # fmt: skip
"""Steps that hardly ever come; whoever takes one is struck so many times likelier."""

OFTEN = {"reconcile": 0.7, "retry": 0.6, "remove": 0.3, "delete": 0.2}
"""In which share of the seasons a verb is called; what is taken back on purpose hides what is lost."""

CALLS = {"reconcile": 4, "retry": 4}
"""So often a verb is called then; others once or twice."""

LATER = frozenset({"remove", "retry", "delete"})
"""Verbs that find something to do only once something was done."""

REGRETS = 8
"""So often at most, where a verb takes back, it is also called right after something was linked."""

IDLE = 0.04
"""How much rarer accidents strike a worker that holds no claims: there is less to break."""

MOST_STEPS = 60_000
"""A season that takes more does not come to its end; a long one takes a tenth."""

ROUNDS = 9
"""So often a data manager follows the verbs' advice before the season must be whole."""


@dataclass
class World:
    """What kind of season a seed makes."""

    captures: int
    batches: int
    workers: int
    storm_s: float
    kill: float
    suspend: float
    rates: dict[str, float]
    skews: list[float]
    verbs: tuple[str, ...]
    foreign: bool
    restores: int
    ledger_rates: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, chance: random.Random, deadly: bool) -> "World":
        """Choose one; where it is deadly, workers die again and again."""
        harm = chance.choice((0.1, 0.3, 1.0, 2.0, 4.0, 6.0) if deadly else (0.1, 1.0, 3.0, 5.0, 6.0))
        shares = (0.2, 0.6, 1.0) if deadly else (0.4, 0.8, 1.0)
        kinds = [kind for kind in KINDS if chance.random() < chance.choice(shares)]
        return cls(
            captures=chance.randint(3, 6),
            batches=chance.choice((0, 0, 1, 2)),
            workers=chance.choice((1, 2, 2, 3, 3, 3)),
            storm_s=900.0 if deadly else chance.choice((120.0, 450.0, 900.0)),
            kill=chance.choice((0.03, 0.06, 0.12) if deadly else (0.0, 0.01, 0.03, 0.06)),
            suspend=chance.choice((0.0, 0.01, 0.03, 0.06)),
            rates={
                **{kind: rate * harm for kind, rate in ROUGH.items() if kind in kinds},
                # What hurts most is most often tried.
                **{
                    f"{kind}:{route}": min(0.25, more * ROUGH[kind] * harm)
                    for route, more, some in SORE
                    for kind in some
                    if kind in kinds
                },
            },
            skews=[
                chance.choice((0.0, 590.0, chance.uniform(0, 590))) for _ in range(3)
            ],  # apart by at most SKEW_S
            verbs=tuple(verb for verb in VERBS if chance.random() < OFTEN.get(verb, 0.4)),
            foreign=chance.random() < 0.25,
            restores=chance.choice((0, 0, 1)),
            ledger_rates={"busy": 0.002, "full": 0.002} if chance.random() < 0.2 else {},
        )


@dataclass
class Totals:
    """What happened, in one season or in many."""

    seasons: int = 0
    captures: int = 0
    workers: int = 0
    kills: int = 0
    kills_with_claims: int = 0
    suspensions: int = 0
    faults: int = 0
    requests: int = 0
    transactions: int = 0
    verbs: int = 0
    sets_deleted: int = 0
    backups_put_back: int = 0
    violations: int = 0
    to_the_database: Counter[str] = field(default_factory=Counter)
    matrix: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: "Totals") -> None:
        """Add up."""
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
            else:
                setattr(self, name, getattr(self, name) + value)


class SimEncoders:
    """In place of `upload.Encoders`: bytes at once, or an encoding process that dies."""

    kernel: Kernel

    def __init__(self, processes: int, options: Any) -> None:
        self._closed = False

    def warm_up(self) -> None:
        """Nothing to start."""

    def encode(self, paths: list[str], below: str | None, then: WhenEncoded) -> None:
        """Encode in a task of its own."""
        kernel = self.kernel
        task = kernel.current
        assert task is not None

        def work() -> None:
            kernel.sleep(kernel.latencies.uniform(0.02, 0.3))
            if kernel.accident("an encoding process dies", 0.004):
                then(None, EncoderDiedError("an encoding process was killed"))
            else:
                then([_encoded(path) for path in paths], None)

        kernel.spawn(task.worker, work, "encoder")

    def close(self) -> None:
        """Nothing to end."""


def _encoded(path: str) -> EncodedImage:
    data = f"the bytes of {path} ".encode() * 3
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return EncodedImage(data, "image/jpeg", md5, 8, 8, 50, "")


class Season:
    """One season, as its seed has it.

    Args:
        seed: of everything.
        suppressed: numbers of accidents that do not strike, to make a failing season smaller.
        database: one to use again (its compiled statements are dear).
        tracing: keep the steps in words.
        deadly: a season in which workers die again and again.
    """

    def __init__(
        self,
        seed: int,
        suppressed: frozenset[int] = frozenset(),
        database: SimDatabase | None = None,
        tracing: bool = True,
        deadly: bool = False,
    ) -> None:
        self.seed = seed
        self.deadly = deadly
        self.kernel = Kernel(seed, suppressed, tracing=tracing)
        self.chance = self.kernel.stream("world")
        self.world = World.of(self.chance, deadly)
        self.database = database or new_database()
        self.world.ledger_rates |= self.database.accidents(self.kernel.stream("database"))
        self.totals = Totals(seasons=1, captures=self.world.captures)
        self._begun = 0
        self._snapshots: list[Any] = []
        self._calm = False
        self._regrets = 0
        self._going: set[int] = set()  # subjects that colleagues, or `delete`, take away

    # -- the season ----------------------------------------------------------------------------------------

    def play(self) -> list[str]:
        """Play it to its end; return what did not hold."""
        handler = self.kernel.log_handler()
        level, log.level = log.level, logging.INFO
        propagates, log.propagate = log.propagate, False
        log.addHandler(handler)
        try:
            with self.kernel, running_on(SimMachine(self.kernel)), _patched(self.kernel):
                return self._play()
        finally:
            log.removeHandler(handler)
            log.level, log.propagate = level, propagates

    def _play(self) -> list[str]:
        kernel, world, totals = self.kernel, self.world, self.totals
        self.database.put_back(template(self.database, world.captures, world.batches, self.chance.randint(1, 4)))
        self.database.transactions, self.database.struck = 0, Counter()
        with ZooniverseModel(kernel, rates=world.rates) as model:
            self.model = model
            model.after_work = self._look_after_work
            self._watch_the_world()
            kernel.dangers = {"*": (world.kill, world.suspend)}
            kernel.seldom = SELDOM
            kernel.suspensions_s = ((5.0, 60.0), (320.0, 900.0), (320.0, 400.0))
            kernel.delays = (0.01, 2.0)
            self.database.rates = dict(world.ledger_rates)
            found: list[str] = []
            try:
                self._begin_storm()
                kernel.run(
                    until=lambda: kernel.time >= world.storm_s, limit_s=world.storm_s + 10, limit_steps=MOST_STEPS
                )
                self._end_storm()
                kernel.run(limit_s=2 * 86400.0, limit_steps=MOST_STEPS)
            except Violation:
                pass
            except Stuck as stuck:
                found.append(str(stuck))
            found = kernel.violations + found
            if not found:
                outside = SimLedger.outside(self.database)
                found = violations(outside, model.state(), complete=True) + self._nobody_took_back(outside)
            totals.requests = sum(model.requests.values())
            totals.faults = sum(model.accidents.values())
            totals.suspensions = sum(name.startswith("suspend") for _, name in kernel.struck)
            totals.transactions = self.database.transactions
            totals.to_the_database = self.database.struck
            totals.violations = len(found)
            totals.matrix.update(kernel.where)
            for (kind, route), count in model.accidents.items():
                totals.matrix[route, kind] += count
            return found

    def _nobody_took_back(self, ledger: Ledger) -> list[str]:
        """Where nobody took anything back, the history says of no capture that it was."""
        if self.world.foreign or {"remove", "delete"} & set(self.world.verbs):
            return []
        with ledger.read() as connection:
            rows = connection.execute(
                text("SELECT capture_id, target, reason FROM event WHERE target IN ('removed', 'deleted')")
            ).all()
        return [
            f"capture {row.capture_id} was moved to {row.target} ({row.reason}), and nobody did that"
            for row in rows
        ]

    # -- the storm -----------------------------------------------------------------------------------------

    def _begin_storm(self) -> None:
        kernel, world = self.kernel, self.world
        for number in range(world.workers):
            kernel.after(self.chance.uniform(0, 20), lambda n=number: self._upload_worker(n))
        for verb in world.verbs:
            for _ in range(CALLS.get(verb) or self.chance.choice((1, 1, 2))):
                early = 1.0 if verb in LATER else 3.0
                self._some_time(f"a verb is called: {verb}", lambda v=verb: self._call(v), early)
        if world.foreign:
            for _ in range(self.chance.choice((1, 2))):
                self._some_time("a colleague deletes something", self._colleague)
        for _ in range(3 if world.restores else 0):
            self._some_time("", lambda: self._snapshots.append(self.database.snapshot()))
        for _ in range(world.restores):
            self._some_time("an older copy of the ledger is put back", self._put_back)

    def _some_time(self, accident: str, act: Callable[[], None], early: float = 3.0) -> None:
        """Let something happen at some time of the storm; most of it while there is still work."""
        when = self.chance.uniform(0, 1) ** early * self.world.storm_s

        def strike() -> None:
            if not self._calm and (not accident or self.kernel.accident(accident, 1.0)):
                act()

        self.kernel.at(when, strike)

    def _worker(self, verb: str, host: int, work: Callable[[], None], *, mortal: bool = True) -> Worker:
        self._begun += 1
        worker = self.kernel.process(f"{verb} {self._begun}", work, skew=self.world.skews[host], mortal=mortal)
        worker.host = f"host{host}"
        worker.verb = verb
        return worker

    def _upload_worker(self, host: int) -> None:
        if self._calm:
            return
        self.totals.workers += 1
        chance = self.chance
        stop = _LateStop()
        options = UploadOptions(
            project_id=self.model.world.project.id,
            processes=1,
            connections=chance.choice((1, 2, 3)),
            link_batch_size=chance.choice((1, 2, 50)),
            limit=chance.choice((None, None, None, 2)),
        )
        backoff = Backoff(first=0.5, most=20.0, give_up=chance.choice((40.0, 200.0, 1800.0)))
        worker = self._worker("upload", host, lambda: self._upload(options, backoff, stop))
        if chance.random() < 0.35:
            self.kernel.after(chance.uniform(0, 60), lambda: stop.ask(worker))
        worker.danger = IDLE
        worker.on_end = lambda how: self._worker_ended(worker, host, how)

    def _worker_ended(self, worker: Worker, host: int, how: str) -> None:
        if how == "killed":
            self.totals.kills += 1
            self.totals.kills_with_claims += self._held_claims(worker)
        rest = (1.0 if self.deadly else 5.0) if how == "killed" else 120.0
        self.kernel.after(self.chance.expovariate(1 / rest), lambda: self._upload_worker(host))

    def _held_claims(self, worker: Worker) -> bool:
        with SimLedger.outside(self.database).read() as connection:
            found = driver(connection).execute(
                "SELECT 1 FROM capture c JOIN run r ON r.id = c.run_id WHERE c.state = 'uploading' AND r.pid = ?"
                " AND r.host = ? LIMIT 1",
                (worker.pid, worker.host),
            )
            return found.fetchone() is not None

    def _upload(self, options: UploadOptions, backoff: Backoff, stop: "_LateStop") -> None:
        signal = stop.signal = StopSignal()
        try:
            ledger = SimLedger(self.kernel, self.database)
            report = upload(ledger, SimZooniverse(self.model, backoff=backoff), options, stop=signal)
            self.kernel.say(f"upload ended: {report.counts}, {report.left} {report.stopped}")
        except CtstateError as error:
            self.kernel.say(f"upload ended: {type(error).__name__}: {error}")

    # -- what else happens ---------------------------------------------------------------------------------

    def _call(self, verb: str) -> None:
        self.totals.verbs += 1
        worker = self._worker(verb, self.chance.randrange(3), lambda: self._verb(verb))
        worker.danger = 0.2 if verb == "delete" else 0.3  # it has far to go before it changes anything
        worker.on_end = self._verb_ended

    def _verb_ended(self, how: str) -> None:
        self.totals.kills += how == "killed"

    def _verb(self, verb: str) -> None:
        backoff = Backoff(first=0.5, most=20.0, give_up=120.0)
        zooniverse = SimZooniverse(self.model, backoff=backoff)
        try:
            VERBS[verb](self, SimLedger(self.kernel, self.database), zooniverse)
        except CtstateError as error:
            self.kernel.say(f"{verb} ended: {type(error).__name__}: {error}")

    @property
    def project(self) -> int:
        """The project's id."""
        return self.model.world.project.id

    def reconcile(self, ledger: Ledger, zooniverse: SimZooniverse) -> None:
        """`ctstate reconcile --apply`."""
        ledger.recover()
        found = survey(ledger, zooniverse, self.project, share=ALL if self.chance.random() < 0.5 else DOUBTFUL)
        self.kernel.say(f"reconcile found {[(f.kind, f.capture_id, f.subject_id) for f in found.to_do]}")
        reconcile(ledger, zooniverse, self.project, found, {})

    def verify(self, ledger: Ledger, zooniverse: SimZooniverse) -> None:
        """`ctstate verify`."""
        verify(ledger, zooniverse, self.project)

    def adopt(self, ledger: Ledger, zooniverse: SimZooniverse) -> None:
        """`ctstate adopt`, of a set or of the season."""
        sets = [s.id for s in self.model.world.live_sets()]
        adopt(ledger, zooniverse, self.project, subject_set_id=self.chance.choice([None, *sets]))

    def retry(self, ledger: Ledger, zooniverse: SimZooniverse) -> None:
        """`ctstate retry`."""
        retry(
            ledger,
            states=self.chance.choice((["failed"], ["removed"], ["failed", "removed", "deleted"])),
        )

    def update_metadata(self, ledger: Ledger, zooniverse: SimZooniverse) -> None:
        """`ctstate update-metadata`, after predictions that changed."""
        with ledger.write() as connection:
            key = self.chance.randint(1, self.world.captures)
            connection.execute(
                text(
                    "INSERT INTO prediction (capture_id, source, metadata, made_at) VALUES (:k, 'species', :m, :at)"
                    " ON CONFLICT (capture_id, source) DO UPDATE SET metadata = excluded.metadata"
                ),
                {"k": key, "m": f'{{"#machine_prediction": "{self.chance.randint(1, 99)}"}}', "at": now()},
            )
            connection.execute(
                text(
                    "UPDATE capture SET metadata_pending = :at WHERE id = :k AND state <> 'deleted'"
                    " AND (subject_id IS NOT NULL OR create_sent_at IS NOT NULL OR state = 'uploading')"
                ),
                {"k": key, "at": now()},
            )
        update_metadata(ledger, zooniverse, self.project)

    def take_back(self, verb: str, ledger: Ledger, zooniverse: SimZooniverse) -> None:
        """`ctstate remove` or `ctstate delete` of some captures."""
        with ledger.read() as connection:
            up = connection.exec_driver_sql(
                "SELECT capture_id FROM capture WHERE state IN ('uploaded', 'failed', 'removed') ORDER BY id"
            )
            some = [str(name) for (name,) in up]
        if not some or self.chance.random() < 0.3:
            some = [f"SIM_S1#A#1#{n}" for n in range(1, self.world.captures + 1)]
        keys = [name for name in some if self.chance.random() < 0.4]
        if keys:
            plan_of, carry_out = {"remove": (plan_removal, remove), "delete": (plan_deletion, delete)}[verb]
            plan = plan_of(ledger, zooniverse, self.project, Wanted(capture_ids=keys))
            carry_out(ledger, zooniverse, plan, "the simulation says so")

    def _colleague(self) -> None:
        """Somebody deletes a set, or a subject, or takes one out of its set, on the website."""
        world, chance = self.model.world, self.chance
        sets = list(world.live_sets())
        subjects = [s for s in world.subjects.values() if s.active]
        what = chance.choice(("set", "subject", "unlink"))
        if what == "set" and sets:
            chosen = chance.choice(sets)
            self.kernel.say(f"a colleague deletes set {chosen.id}")
            self._going.update(chosen.members)
            self._by_colleague(lambda: world.delete_set(chosen))
            self.totals.sets_deleted += 1
        elif what == "subject" and subjects:
            subject = chance.choice(subjects)
            self.kernel.say(f"a colleague deletes subject {subject.id}")
            self._by_colleague(lambda: world.deactivate(subject))
        elif subjects:
            subject = chance.choice(subjects)
            for number in list(subject.sets):
                self.kernel.say(f"a colleague takes subject {subject.id} out of set {number}")
                self._by_colleague(lambda n=number: world.unlink(world.sets[n], [subject.id]))

    def _put_back(self) -> None:
        """A disaster: every process dies; some minutes later an older copy of the ledger is put back."""
        # Longer than Zooniverse can still be at work on what was sent before.
        wait = self.chance.uniform(100, 250)
        if not self._snapshots or self.kernel.time + wait >= self.world.storm_s:
            return
        snapshot = self.chance.choice(self._snapshots)
        self._calm = True
        for worker in list(self.kernel.workers.values()):
            worker.on_end = None
            self.kernel.kill(worker, "the disaster")

        def after() -> None:
            self.kernel.say("an older copy of the ledger is put back")
            self.totals.backups_put_back += 1
            self.database.put_back(snapshot)
            self._calm = False
            for host in range(self.world.workers):
                self._upload_worker(host)

        self.kernel.after(wait, after)

    # -- the end -------------------------------------------------------------------------------------------

    def _end_storm(self) -> None:
        kernel = self.kernel
        self._calm = True
        self.model.rates = CALM
        kernel.dangers = {}
        self.database.rates = {}
        for worker in list(kernel.workers.values()):
            worker.on_end = None
            if self.chance.random() < 0.5:
                kernel.kill(worker, "the end of the storm")
        self._worker("manager", 0, self._manage, mortal=False)

    def _manage(self) -> None:
        """A data manager: upload, and whatever the verbs advise, until all is whole."""
        kernel = self.kernel
        # Zooniverse deletes the subjects of a set one by one, and has done what it was asked.
        kernel.sleep(120.0)
        # What other people want done is done before the season is called whole.
        while any(worker.verb in ("retry", "remove", "delete") for worker in kernel.workers.values()):
            kernel.sleep(60.0)
        states = ["failed", "removed", "deleted"]
        if {"remove", "delete"} & set(self.world.verbs):
            states = ["failed"]  # what was taken back on purpose stays so
        for _ in range(ROUNDS):
            zooniverse = SimZooniverse(self.model)
            try:
                ledger = SimLedger(kernel, self.database)
                self.reconcile(ledger, zooniverse)
                retry(ledger, states=states)
                options = UploadOptions(project_id=self.project, processes=1, connections=2)
                report = upload(ledger, zooniverse, options)
                if report.left.failed or report.left.pending:
                    kernel.say(f"manager: left {report.left}")
                    continue
            except LedgerBehindError as error:
                kernel.say(f"manager: {error}")
                named = re.search(r"adopt --subject-set-id (\d+)", str(error))
                if "at most" in str(error):
                    kernel.sleep(900.0)
                if named:
                    adopt(ledger, zooniverse, self.project, subject_set_id=int(named[1]))
                continue
            except CtstateError as error:
                kernel.say(f"manager: {type(error).__name__}: {error}")
                continue
            found = survey(ledger, zooniverse, self.project, share=ALL)
            if not found.findings and not found.under_way:
                return
            kernel.say(f"manager: {[(f.kind, f.capture_id, f.subject_id, f.detail) for f in found.findings]}")
        kernel.violation(f"the season is not whole after {ROUNDS} rounds of what the verbs advise")

    # -- held at every step --------------------------------------------------------------------------------

    def _by_colleague(self, act: Callable[[], None]) -> None:
        self._foreign_hand = True
        try:
            act()
        finally:
            self._foreign_hand = False

    _foreign_hand = False

    def _watch_the_world(self) -> None:
        """Volunteers' work stays: what is in a set is deleted or taken out on purpose only."""
        world = self.model.world
        deactivate, unlink = world.deactivate, world.unlink

        def watched_deactivate(subject: Any) -> None:
            on_purpose = self._foreign_hand or subject.id in self._going or "delete" in self.world.verbs
            if subject.sets and not on_purpose:
                self.kernel.violation(f"subject {subject.id}, which volunteers see in {subject.sets}, was deleted")
            deactivate(subject)

        def watched_unlink(subject_set: Any, numbers: Any) -> None:
            taken = [number for number in numbers if number in subject_set.members]
            if taken and not self._foreign_hand and "remove" not in self.world.verbs:
                self.kernel.violation(f"subjects {taken} were taken out of set {subject_set.id}")
            unlink(subject_set, taken)

        world.deactivate = watched_deactivate  # type: ignore[method-assign]
        world.unlink = watched_unlink  # type: ignore[method-assign]

    def _made_once(self, number: int) -> None:
        """No capture has a second subject, not even in no set; except by a worker that fell asleep with its hand on
        the socket: nobody can tell that from a slow network, and `reconcile` takes it back."""
        world = self.model.world
        mark = read_mark(world.subjects[number].external_id)
        if mark is None or mark.capture_key in self.kernel.asleep_at_create:
            return
        twins = [
            subject.id
            for subject in world.of_project(world.project.id).values()
            if subject.id != number and (read_mark(subject.external_id) or mark)[:2] == mark[:2]
        ]
        if twins:
            self.kernel.violation(f"capture {mark.capture_key} was made again as subject {number}; it has {twins}")

    def _regret(self) -> None:
        """Where subjects are taken back on purpose, this happens while others are on their way, too."""
        verbs = [verb for verb in ("remove", "delete") if verb in self.world.verbs]
        if verbs and self._regrets < REGRETS and not self._calm:
            self._regrets += 1
            verb = self.chance.choice(verbs)
            self.kernel.after(self.chance.uniform(1, 60), lambda: self._calm or self._call(verb))

    def _look_after_work(self, route: str, reply: Response) -> None:
        """No capture is twice before volunteers, at any instant."""
        world = self.model.world
        if route == "create subject" and reply.status_code == 201:
            self._made_once(max(world.subjects))
        if route != "link subjects":
            return
        self._regret()
        seen = Counter(
            str(world.subjects[number].metadata.get(CAPTURE_ID))
            for subject_set in world.live_sets()
            for number in subject_set.members
            if read_mark(world.subjects[number].external_id) is not None
        )
        doubled = [name for name, count in seen.items() if count > 1]
        if doubled:
            self.kernel.violation(f"{doubled[0]} is twice before volunteers")


VERBS: dict[str, Callable[[Season, Ledger, SimZooniverse], None]] = {
    "reconcile": Season.reconcile,
    "verify": Season.verify,
    "adopt": Season.adopt,
    "retry": Season.retry,
    "update-metadata": Season.update_metadata,
    "remove": lambda season, ledger, zooniverse: season.take_back("remove", ledger, zooniverse),
    "delete": lambda season, ledger, zooniverse: season.take_back("delete", ledger, zooniverse),
}


class _LateStop:
    """Asks an upload to stop cleanly, at some time."""

    signal: StopSignal | None = None

    def ask(self, worker: Worker) -> None:
        """As `scancel` does."""
        if worker.alive and self.signal is not None:
            self.signal.request("asked to stop by the simulation")


@contextlib.contextmanager
def _patched(kernel: Kernel) -> Iterator[None]:
    """What of a process is this machine's: its pid, its encoding processes; and pauses shorter than they are."""

    def this_process() -> Process:
        worker = kernel.current.worker if kernel.current is not None else None
        if worker is None:
            return Process("outside", "outside", 0, "")
        return Process(worker.host, worker.host, worker.pid, str(worker.pid))

    def gone_from_here(here: Process, other: Process) -> bool:
        return other.host_id == here.host_id and other.pid not in kernel.workers

    told = runner.life

    def life(*given: Any, **more: Any) -> Any:
        if kernel.current is not None:
            kernel.current.worker.danger = 1.0  # it holds claims: this is what the storm is after
        return told(*given, **more)

    at_it = runner.Runner._others_are_at_it

    def others_are_at_it(self: runner.Runner) -> bool:
        if kernel.current is not None:
            kernel.current.worker.danger = IDLE
        return at_it(self)

    write_down = commits.write_down

    def named(connection: Any, notes: Any) -> None:
        if kernel.current is not None:
            names = [
                type(fact).__name__ + (f" {fact.state}" if isinstance(fact, Moved) else "")
                for _, facts in notes
                for fact in facts
            ]
            kernel.current.memory["facts"] = ",".join(names)
        write_down(connection, notes)

    begin_runner = runner.Runner.__init__

    def small_runner(self: runner.Runner, *given: Any, **more: Any) -> None:
        begin_runner(self, *given, **more)
        self._capacity = kernel.latencies.choice((1, 2, 8))

    SimEncoders.kernel = kernel
    changes: list[tuple[Any, str, Any]] = [
        (runs, "this_process", this_process),
        (runs, "gone_from_here", gone_from_here),
        (runs, "username", lambda: "simulation"),
        (runs, "HEARTBEAT_S", 60.0),
        (upload_module, "Encoders", SimEncoders),
        (runner, "WAIT_FOR_OTHERS_S", 30.0),
        (runner, "TICK_S", 3.0),
        (runner, "life", life),
        (commits, "write_down", named),
        (runner.Runner, "__init__", small_runner),
        (runner.Runner, "_others_are_at_it", others_are_at_it),
        (
            upload_module,
            "Assignment",
            lambda **given: runner.Assignment(**given, claim_ahead=kernel.latencies.choice((1, 2, 3))),
        ),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in changes]
    try:
        for where, name, value in changes:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)


_templates: dict[tuple[int, int, int], Any] = {}


def template(database: SimDatabase, captures: int, batches: int, pattern: int) -> Any:
    """Return a ledger with a season: captures of one to three images, in batches or in none yet."""
    key = (captures, batches, pattern)
    if key not in _templates:
        database.put_back(database.empty)
        _fill(SimLedger.outside(database), captures, batches, pattern)
        _templates[key] = database.snapshot()
    return _templates[key]


def _fill(ledger: Ledger, captures: int, batches: int, pattern: int) -> None:
    with ledger.write() as connection:
        sql = driver(connection).execute
        sql("INSERT INTO season (id, name, attribution, license, created_at) VALUES (1, 'SIM_S1', 'a', 'l', 't')")
        for number in range(1, batches + 1):
            name = "complete" if batches == 1 else f"batch_{number}"
            sql("INSERT INTO batch (id, season_id, name, created_at) VALUES (?, 1, ?, 't')", (number, name))
        for key in range(1, captures + 1):
            sql(
                "INSERT INTO capture (id, capture_id, season_id, season, site, roll, capture, capture_number, "
                "state, moved_at) VALUES (?, ?, 1, 'SIM_S1', 'A', '1', ?, ?, 'manifested', ?)",
                (key, f"SIM_S1#A#1#{key}", str(key), key, now()),
            )
            for rank in range(1, 2 + (key * pattern) % 3):
                path = f"/images/{key}_{rank}.jpg"
                sql("INSERT INTO image (capture_id, rank, path) VALUES (?, ?, ?)", (key, rank, path))
            if batches:
                sql(
                    "UPDATE capture SET state = 'batched', batch_id = ?, moved_at = ? WHERE id = ?",
                    ((key - 1) % batches + 1, now(), key),
                )
        count_on(connection)
