"""The crash harness: real processes on a real server, while everything happens to them; then the invariant.

Each round has a season (a new one, of small or real-sized images, or one that 0.1.0 left in mid-upload), a ledger
on a small disk, a sandbox, and a network before it (`tests.crash.network`: a proxy, for plain requests or CONNECT).
Workers upload, and the other verbs run beside them at random, while processes are killed, suspended and stopped, at
random and at each step; requests and replies are lost; the log-in is revoked, sets and subjects are deleted, the
ledger is out of reach, its disk is full, an older copy is put back. Then the storm ends, a data manager brings the
season to its end with the verbs' own advice, and `ctstate.verbs.demo.invariant.violations` must find nothing.

    python -m tests.crash.harness --minutes 60 --matrix
    python -m tests.crash.harness --minutes 60 --matrix --postgres

With the second, the ledger is on a PostgreSQL server, which is killed and started again, whose connections are cut
and whose disk is full, and before it is a network (`tests.crash.database_network`) that loses COMMITs and their
replies.

With --sweep it looks for steps and accidents that have not met yet: requests that few verbs make, above all.

What a seed decides is what is tried, not when the system lets it happen: a round cannot be repeated exactly. So of
a round that broke, the seed is printed and all of its files are kept.
"""

import argparse
import contextlib
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import requests

from ctstate.errors import CtstateError
from ctstate.ledger import Ledger
from ctstate.sandbox import SandboxProcess
from ctstate.verbs.demo.invariant import violations
from ctstate.zooniverse import Credentials, Zooniverse
from ctstate.zooniverse.subject import CAPTURE_ID
from tests.builders.postgres import on_postgres_or_not_at_all
from tests.builders.season_on_sandbox import delete_set
from tests.crash.database_network import CUT, KINDS, RESTARTED
from tests.crash.launcher import Forked, Launcher
from tests.crash.ledger_in_file import LedgerInFile, LedgerPlace
from tests.crash.matrix import Matrix
from tests.crash.network import ACCIDENTS, LATEST_S, PROCESS, ROUTES, TELL_MD5, Network
from tests.crash.season import STAGES, CrashSeason, Pool
from tests.ledgers_of_0_1_0 import NAMES
from tests.zooniverse_http.servers import certificate

SETTLE_S = 3.0
"""So long the sandbox may be at work on a request (LATEST_S), with a margin for a machine that is busy."""

LEASE_S = 6.0

MOST_WORKERS = 6

WORLDLY = (
    *PROCESS, "stop in doubt", "outage", "server killed", "log-in revoked", "set deleted", "subject deleted",
    "ledger out of reach", "disk full", "backup put back", "verb called",
)  # fmt: skip
"""What befalls processes at any time, and the world around them."""

OF_SERVERS = (RESTARTED, CUT, *KINDS)
"""And what befalls them where the ledger is on a server."""

NAMESPACE = "CTSTATE_CRASH_NAMESPACE"
"""Set where mounts are this harness' own."""

BUG = re.compile(r"Traceback \(most recent call last\)|this is a bug in ctstate")


@dataclass
class Totals:
    """What happened in all rounds."""

    rounds: int = 0
    seasons_of_0_1_0: int = 0
    captures: int = 0
    workers: int = 0
    verbs: int = 0
    kills: int = 0
    kills_with_claims: int = 0
    suspensions: int = 0
    clean_stops: int = 0
    stops_in_doubt: int = 0
    sandbox_restarts: int = 0
    outages: int = 0
    log_ins_revoked: int = 0
    sets_deleted: int = 0
    subjects_deleted: int = 0
    times_out_of_reach: int = 0
    full_disks: int = 0
    troubles_of_the_database: int = 0
    commits_lost: int = 0
    workers_ended_by_the_ledger: int = 0
    backups_put_back: int = 0
    faults: int = 0
    violations: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in asdict(self).items())


class Met:
    """What met what, in all rounds."""

    def __init__(self, postgres: bool) -> None:
        self.requests = Matrix(ROUTES, ACCIDENTS, {(r, "no md5") for r in ROUTES if r not in TELL_MD5})
        worldly = (*WORLDLY, *(OF_SERVERS if postgres else ()))
        self.stages = Matrix(STAGES, worldly, {(s, "stop in doubt") for s in STAGES if s != "in doubt"})

    def empty(self) -> list[str]:
        """What never met, and can."""
        return [f"{step}: {kind}" for matrix in (self.requests, self.stages) for step, kind in matrix.empty()]

    def __str__(self) -> str:
        empty = self.empty()
        return f"{self.requests}\n\n{self.stages}\n{len(empty)} empty cells; {', '.join(empty)}"


VERBS: dict[str, Callable[["Round"], list[str]]] = {
    "reconcile": lambda r: ["--apply", *r.project, *(["--check-images"] if r.chance.random() < 0.5 else [])],
    "verify": lambda r: r.project,
    "adopt": lambda r: r.project,
    "retry": lambda r: ["--state", "failed", "--state", r.chance.choice(("removed", "deleted", "failed"))],
    "remove": lambda r: ["--yes", "--reason", "harness", *r.which(), *r.project],
    "delete": lambda r: ["--yes", "--reason", "harness", *r.which(), *r.project],
    "update-metadata": lambda r: [*r.project, *(["--all"] if r.chance.random() < 0.3 else [])],
    "predict": lambda r: ["--format", "csv", "--source", "species", str(r.predictions())],
    "exclude": lambda r: ["--reason", "harness", "--where", r.condition()],
    "include": lambda r: ["--where", r.condition()],
    "batch": lambda r: ["--max-batch-size", str(r.chance.randint(5, 50))],
    "manifest": lambda r: r.manifest_arguments("--update"),
    "status": lambda r: [],
    "runs": lambda r: [],
    "progress": lambda r: r.project,
    "workflows": lambda r: r.project,
    "export manifest": lambda r: ["--output-dir", str(r.season.folder / "exported")],
    "sql": lambda r: ["SELECT state, count(*) FROM v_captures GROUP BY 1"],
    "stop": lambda r: ["--all"],
    "doctor": lambda r: [],
}
"""Verbs that run beside the workers, with what they are given."""

ASKS = {
    "remove": {"unlink subjects", "list workflows", "list statuses"},
    "delete": {"delete subject", "list workflows", "list statuses"},
    "reconcile": {"unlink subjects", "get image", "head image"},
    "progress": {"list workflows", "list statuses"},
    "workflows": {"list workflows"},
    "batch": {"find set", "create set"},
}
"""Which verbs ask what uploads seldom ask."""

OFTEN = Counter({"reconcile": 5, "retry": 3, "remove": 3, "delete": 3, "update-metadata": 2, "predict": 2})


@dataclass
class Running:
    """A process, and where its words go."""

    name: str
    process: Forked
    log: Path
    wakes_at: float | None = None


class Round:
    """One season through hell.

    Args:
        season: to go through it.
        chance: decides what happens.
        totals, met: counted on.
        tls: whether Zooniverse is reached by https.
        certificates: a file for that.
        old: whether 0.1.0 began the season.
        launcher: begins processes.
    """

    def __init__(
        self,
        season: CrashSeason,
        chance: random.Random,
        totals: Totals,
        met: Met,
        certificates: Path,
        old: bool,
        launcher: Launcher,
    ) -> None:
        self.season, self.chance, self.totals, self.met, self.old = season, chance, totals, met, old
        self.sandbox: SandboxProcess = season.sandbox
        self.project = ["--project-id", self.sandbox.project_id]
        self.running: dict[str, Running] = {}
        self.ended: list[Running] = []
        self.trouble: list[str] = []
        self.doubles_possible = False  # a process slept with its hand on a create, or forgot what it had made
        self._launcher = launcher
        self._lock = threading.RLock()
        self._certificates = certificates
        self.network = Network(random.Random(chance.random()), met.requests, self.strike, certificates)
        self._begun = 0
        self._was_put_back = False  # an older copy of the ledger: once a round

    # -- processes -----------------------------------------------------------------------------------------

    def environment(self, name: str) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PANOPTES_", "CTSTATE_", "SLURM_"))
        }
        return {
            **kept,
            "CTSTATE_LEDGER": self.season.place.name,
            "CTSTATE_LEASE_SECONDS": str(LEASE_S),
            "PANOPTES_ENDPOINT": self.season.endpoint,
            "PANOPTES_USERNAME": self.sandbox.login,
            "PANOPTES_PASSWORD": self.sandbox.password,
            **self.network.environment(name, self._certificates),
            **self.season.place.environment(name),
        }

    def begin(self, verb: str, arguments: list[str]) -> Running:
        """Start a verb as a process of its own."""
        self._begun += 1
        name = f"{verb.replace(' ', '-')}-{self._begun}"
        log = self.season.folder / f"{name}.log"
        log.touch()
        process = self._launcher.begin([*verb.split(), *arguments], self.environment(name), log)
        begun = Running(name, process, log)
        with self._lock:
            self.running[name] = begun
        return begun

    def begin_worker(self) -> None:
        """Start an upload."""
        chance = self.chance
        self.begin(
            "upload",
            [
                *self.project, "--settle-seconds", str(SETTLE_S), "--connections", str(chance.randint(1, 4)),
                "--n-processes", "1", "--link-batch-size", str(chance.choice((1, 3, 50))),
                *(["--limit", str(chance.randint(1, 9))] if chance.random() < 0.1 else []),
            ],
        )  # fmt: skip
        self.totals.workers += 1

    def begin_verb(self) -> None:
        """Start some other verb."""
        names = list(VERBS)
        wanted = {step for step, _ in self.met.requests.empty()} & self.network.sweep
        often = [(OFTEN[name] or 1) * (20 if wanted & ASKS.get(name, set()) else 1) for name in names]
        verb = self.chance.choices(names, often)[0]
        self.meet("verb called")
        self.begin(verb, VERBS[verb](self))
        self.totals.verbs += 1

    def reap(self) -> None:
        """Take note of processes that have ended, and wake those that have slept enough."""
        with self._lock:
            for running in list(self.running.values()):
                if running.wakes_at is not None and running.wakes_at < time.monotonic():
                    running.wakes_at = None
                    running.process.send_signal(signal.SIGCONT)
                if running.process.poll() is not None:
                    del self.running[running.name]
                    self.ended.append(running)
                    self._heed(running)

    def _heed(self, ended: Running) -> None:
        """Do what an upload that ended in an error says is to be done, as a data manager would."""
        if ended.process.returncode != 1 or not ended.name.startswith("upload") or not self.network.harm:
            return
        said = ended.log.read_text(errors="replace")
        self.totals.workers_ended_by_the_ledger += "\nError: ledger " in said  # after it had begun
        advised = "ctstate reconcile" in said
        if advised and not any(name.startswith("reconcile") for name in self.running):
            self.begin("reconcile", ["--apply", *self.project])
            self.totals.verbs += 1

    def workers(self) -> list[Running]:
        """Uploads that run."""
        with self._lock:
            return [running for name, running in self.running.items() if name.startswith("upload")]

    # -- what befalls them ---------------------------------------------------------------------------------

    def strike(self, name: str, kind: str, step: str = "") -> bool:
        """Let something of PROCESS befall a process; tell whether it did. The network calls this, too."""
        with self._lock:
            running = self.running.get(name)
            if running is None or running.process.poll() is not None:
                return False
            process = running.process
            if kind == "stop":
                if not step:
                    for stage in set(self.season.stages().get(process.pid, [])):
                        self.met.stages.meet(stage, kind)
                process.send_signal(signal.SIGTERM)
                self.totals.clean_stops += 1
                return True
            process.send_signal(signal.SIGSTOP)  # so that what it holds is what it held
            held = self.season.stages().get(process.pid, [])
            for stage in set(held) if not step else ():
                self.met.stages.meet(stage, kind)
            if kind == "kill":
                process.kill()
                process.wait()
                self.totals.kills += 1
                self.totals.kills_with_claims += bool(held)
                return True
            long = kind == "sleep through the lease"
            self.doubles_possible |= long
            seconds = 1.3 * LEASE_S if long else self.chance.uniform(0.2, 1.5)
            running.wakes_at = max(running.wakes_at or 0.0, time.monotonic() + seconds)
            self.totals.suspensions += 1
            return True

    def meet(self, accident: str) -> None:
        """Count what befalls all who hold claims now."""
        for stage in {stage for held in self.season.stages().values() for stage in held}:
            self.met.stages.meet(stage, accident)

    def meet_one(self, name: str, accident: str) -> None:
        """Count what befalls one process."""
        running = self.running.get(name)
        for stage in set(self.season.stages().get(running.process.pid, ())) if running is not None else ():
            self.met.stages.meet(stage, accident)

    def strike_somebody(self) -> None:
        """Let something befall a process; kills look for those that hold claims."""
        kind = self.chance.choices(PROCESS, (16, 1.5, 1, 1))[0]
        held = self.season.stages()
        workers = self.workers()
        holding = [running for running in workers if running.process.pid in held]
        others = list(self.running.values())
        if kind != "kill" and others and self.chance.random() < 0.3:
            holding = others
        elif self.chance.random() < 0.5:
            # One that has only claimed is struck less often: it is to come farther.
            holding = [running for running in holding if set(held[running.process.pid]) != {"claimed"}]
        if holding:
            self.strike(self.chance.choice(holding).name, kind)
        in_doubt = [running for running in workers if "in doubt" in held.get(running.process.pid, ())]
        if in_doubt and self.chance.random() < 0.2:
            self.met.stages.meet("in doubt", "stop in doubt")
            self.totals.stops_in_doubt += self.strike(self.chance.choice(in_doubt).name, "stop")

    def shake_the_world(self) -> None:
        """Let something befall everybody."""
        acts: dict[Callable[[], None], float] = {
            self.outage: 2, self.restart_server: 2, self.revoke_log_in: 1.5, self.delete_a_set: 0.7,
            self.delete_a_subject: 1, self.ledger_away: 2, self.season.place.take_backup: 1.5, self.put_back: 0.7,
            **({self.fill_the_disk: 2} if self.season.place.small_disk else {}),
            **{functools.partial(self.trouble_ledger, what): 5 for what in self.season.place.trouble},
        }  # fmt: skip
        self.chance.choices(list(acts), list(acts.values()))[0]()

    def outage(self) -> None:
        """Nobody reaches Zooniverse for a while."""
        self.meet("outage")
        self.network.away_until = time.monotonic() + self.chance.uniform(0.3, 3.0)
        self.totals.outages += 1

    def restart_server(self) -> None:
        """Zooniverse itself is killed, and comes back."""
        self.meet("server killed")
        self.sandbox.kill()
        time.sleep(self.chance.uniform(0, 0.5))
        self.sandbox.start()
        self.totals.sandbox_restarts += 1

    def revoke_log_in(self) -> None:
        """The password is changed and all tokens are dead, until somebody puts that right."""
        self.meet("log-in revoked")
        password = self.sandbox.password
        with self._no_server_needed():
            self.sandbox.set_account(password="changed by somebody")
            self.sandbox.set_faults({"rules": [{"route": "*", "kind": "unknown_token"}]})
            self.totals.log_ins_revoked += 1
        try:
            time.sleep(self.chance.uniform(0.3, 2.0))
        finally:
            self.sandbox.set_account(password=password)
            self.sandbox.clear_faults()

    def delete_a_set(self) -> None:
        """A colleague deletes a subject set."""
        zooniverse = self._colleague()
        with self._no_server_needed():
            sets = zooniverse.sets(int(self.sandbox.project_id))
            if sets:
                self.meet("set deleted")
                delete_set(zooniverse, self.chance.choice(sets).id)
                self.totals.sets_deleted += 1

    def delete_a_subject(self) -> None:
        """A colleague deletes a subject."""
        zooniverse = self._colleague()
        with self._no_server_needed():
            subjects = [s for s in self.sandbox.state()["subjects"] if s["active"]]
            if subjects:
                self.meet("subject deleted")
                zooniverse.delete_subject(int(self.chance.choice(subjects)["id"]))
                self.totals.subjects_deleted += 1

    def ledger_away(self) -> None:
        """The disk with the ledger is not there for a while."""
        self.meet("ledger out of reach")
        with self.season.place.out_of_reach():
            time.sleep(self.chance.uniform(0.2, 2.0))
        self.totals.times_out_of_reach += 1

    def trouble_ledger(self, what: str) -> None:
        """Let something befall the server that the ledger is on."""
        self.meet(what)
        self.season.place.trouble[what]()
        self.totals.troubles_of_the_database += 1

    def fill_the_disk(self) -> None:
        """The disk with the ledger is full for a while."""
        self.meet("disk full")
        with self.season.place.full():
            time.sleep(self.chance.uniform(0.2, 2.5))
        self.totals.full_disks += 1

    def put_back(self) -> None:
        """A disaster: all processes die, and some time later an older copy of the ledger is put back."""
        if not self.season.place.backups or self._was_put_back:
            return
        self._was_put_back = True
        self.meet("backup put back")
        self.kill_all()
        time.sleep(SETTLE_S + 1.0)  # longer than Zooniverse can still be at work on what was sent before
        self.season.place.put_back(self.chance.choice(self.season.place.backups))
        self.totals.backups_put_back += 1

    @staticmethod
    def _no_server_needed() -> contextlib.suppress:
        return contextlib.suppress(requests.RequestException, CtstateError)

    def _colleague(self) -> Zooniverse:
        return Zooniverse(self.sandbox.url, Credentials(self.sandbox.login, self.sandbox.password))

    # -- what verbs are given ------------------------------------------------------------------------------

    def which(self) -> list[str]:
        """Some captures; what nothing was done with is of no interest here."""
        uploaded = " AND state = 'uploaded'" if self.network.sweep else ""
        return ["--where", self.condition() + uploaded]

    def condition(self) -> str:
        """A condition that few captures meet."""
        return f"CAST(capture AS INTEGER) % 13 = {self.chance.randrange(13)}"

    def predictions(self) -> Path:
        """A file with a prediction for each capture, other than before."""
        path = self.season.folder / "predictions.csv"
        names = self.season.place.rows("SELECT capture_id FROM capture")
        if names is not None:
            rows = [f"{name},species{self.chance.randrange(9)},0.9" for (name,) in names]
            path.write_text("\n".join(["capture_id,label,confidence", *rows]))
        return path

    def manifest_arguments(self, *more: str) -> list[str]:
        """What `manifest` is given."""
        if self.old:
            return ["--help"]
        return [
            str(self.season.captures_csv), "--images-root", str(self.season.folder / "images"),
            "--attribution", "a", "--license", "l", *more,
        ]  # fmt: skip

    # -- a round -------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the ledger of a new season."""
        if not self.old:
            self.call("manifest", *self.manifest_arguments())
            if self.chance.random() < 0.7:
                self.call("batch", "--number-of-batches", str(self.chance.randint(1, 3)))

    def torment(self, seconds: float, harm: float) -> None:
        """Let workers work for a while, and do them harm."""
        self.network.harm = harm
        self.season.place.harm(harm, self.meet_one, lambda name: self.strike(name, "kill", "COMMIT"))
        end = time.monotonic() + seconds
        busy_at = time.monotonic()
        while time.monotonic() < end:
            self.reap()
            if len(self.workers()) < (2 if self.network.sweep else MOST_WORKERS) and self.chance.random() < 0.8:
                self.begin_worker()
            what, trouble = self.chance.random(), 0.02 * bool(self.season.place.trouble)
            if what < (0.03 if self.network.sweep else 0.65):
                self.strike_somebody()
            elif what < (0.035 if self.network.sweep else 0.67 + trouble):
                self.shake_the_world()
            elif what < (0.90 if self.network.sweep else 0.70 + trouble) and len(self.running) < MOST_WORKERS + 2:
                self.begin_verb()
            if self.season.pending():
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at > 5 and not self.network.sweep:
                break  # nothing is left to do
            time.sleep(self.chance.uniform(0.03, 0.15))

    def kill_all(self) -> None:
        """End all processes at once."""
        with self._lock:
            for running in self.running.values():
                running.process.kill()
            for running in self.running.values():
                running.process.wait()
        self.reap()

    def end_storm(self) -> None:
        """End what still runs, half of it as a data manager would, and let nothing go wrong any more."""
        self.network.harm = 0.0
        self.season.place.harm(0.0, self.meet_one, lambda name: None)
        with self._lock:
            left = list(self.running.values())
            for running in left:
                running.process.send_signal(signal.SIGCONT)
                running.process.send_signal(signal.SIGKILL if self.chance.random() < 0.5 else signal.SIGTERM)
        for running in left:
            try:
                running.process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                self.trouble.append(f"{running.name} did not end when it was asked to stop")
                running.process.kill()
        self.reap()
        # Late requests, and subjects of deleted sets, which the sandbox deletes one by one.
        time.sleep(max(LATEST_S, 1.5))

    def doubles(self) -> list[str]:
        """Captures that were made twice, although nobody slept with a create in hand."""
        if self.doubles_possible or self.old:
            return []
        made = Counter(
            s["metadata"].get(CAPTURE_ID)
            for s in self.sandbox.state()["subjects"]
            if s["active"] and str(s["external_id"] or "").startswith("ctstate:")
        )
        return [f"{name} has {count} subjects at the end of the storm" for name, count in made.items() if count > 1]

    def finish(self) -> list[str]:
        """Settle the season as the verbs advise, and return what is wrong."""
        found = self.doubles()
        said = ""
        for _ in range(6):
            said = self.call("reconcile", *self.project, "--apply", expected=(0, 1))
            self.call("include", "--where", "1 = 1", expected=(0, 1, 2))
            self.call("retry", "--state", "failed", "--state", "removed", "--state", "deleted", expected=(0, 1, 2))
            if self.old:
                self.call("batch", "--max-batch-size", "100", expected=(0, 1, 2))
            said += self.call(
                "upload",
                *self.project,
                "--settle-seconds",
                str(SETTLE_S),
                "--n-processes",
                "2",
                expected=(0, 1, 75),
            )
            named = re.search(r"adopt --subject-set-id (\d+)", said)
            if named:
                self.call("adopt", *self.project, "--subject-set-id", named[1], expected=(0, 1))
                continue
            plan = json.loads(self.call("reconcile", *self.project, "--json", expected=(0, 1)))
            if plan["to_do"] == 0 and not plan["findings"]:
                break
        else:
            found.append(f"the season is not whole after what the verbs advise; last said: {said[-500:]}")
        self.call("verify", *self.project, expected=(0, 1) if found else (0,))
        with Ledger.open(self.season.place.direct) as ledger:
            found += violations(ledger, self.sandbox.state())
        for running in self.ended:
            bug = BUG.search(running.log.read_text(errors="replace"))
            if bug:
                found.append(f"{running.name} ended in {bug[0]!r}: {running.log}")
        return [*self.trouble, *found]

    def call(self, verb: str, *arguments: str, expected: tuple[int, ...] = (0,)) -> str:
        """Call a verb in the calm; return what it said."""
        running = self.begin(verb, list(arguments))
        code = running.process.wait(timeout=300)
        self.reap()
        said = running.log.read_text(errors="replace")
        if code not in expected:
            self.trouble.append(f"{verb} {' '.join(arguments)} ended with {code}: {said[-800:]}")
        return said

    def close(self) -> None:
        """End everything."""
        self.kill_all()
        self.network.close()
        self.season.close()


def run(
    seconds: float,
    kills: int,
    seed: int,
    captures: int,
    keep: Path,
    old: bool,
    say: Callable[[str], None],
    sweep: frozenset[str] = frozenset(),
    postgres: bool = False,
) -> tuple[Totals, Met, list[str]]:
    """Play rounds until the time is up; return what happened, what met what, and all violations.

    Args:
        seconds: so long, and at least one round;
        kills: and until so many processes were killed while they held claims.
        seed: of the rounds.
        captures: in each.
        keep: gets the files; those of a round that held are deleted.
        old: only ledgers that 0.1.0 left in mid-upload.
        say: told of each minute.
        sweep: routes to look at for what they have not met yet; end once they have met all.
        postgres: the ledger is on a server of the harness' own.
    """
    chance, totals, met, all_found = random.Random(seed), Totals(), Met(postgres), list[str]()
    new_place: Callable[[Path], LedgerPlace] = LedgerInFile
    if postgres:
        from tests.crash.ledger_on_server import LedgerOnServer, Server

        server = Server()
    shared = Path(tempfile.mkdtemp(prefix="shared-", dir=keep))
    pool, certificates = Pool(shared / "pool"), certificate(shared)
    launcher = Launcher({**os.environ, "CTSTATE_LEASE_SECONDS": str(LEASE_S)})
    end, told = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < end or totals.kills_with_claims < kills or totals.rounds == 0:
        if sweep and not any(route in sweep for route, _ in met.requests.empty()):
            break
        round_seed = chance.randrange(10**9)
        mine = random.Random(round_seed)
        folder = Path(tempfile.mkdtemp(prefix="crash-", dir=keep))
        name = mine.choice(NAMES) if old or mine.random() < 0.12 else None
        if postgres:
            name = None  # those of 0.1.0 are files
            new_place = functools.partial(LedgerOnServer, server, chance=mine)
        season = CrashSeason(folder, mine, captures, pool, mine.random() < 0.5, name, new_place)
        one = Round(season, mine, totals, met, certificates, name is not None, launcher)
        try:
            one.prepare()
            one.network.sweep = sweep
            left = end - time.monotonic()
            one.torment(
                max(8.0, min(mine.uniform(60, 180) / (2 if sweep else 1), max(60.0 if kills else 0.0, left - 15))),
                mine.choice((0.01, 0.03, 0.08)),
            )
            one.end_storm()
            found = one.finish()
        except BaseException:
            say(f"round with seed {round_seed} broke; its files: {folder}")
            raise
        finally:
            one.close()
            totals.faults += one.network.faults
            totals.commits_lost += season.place.commits_lost
        totals.rounds += 1
        totals.seasons_of_0_1_0 += name is not None
        totals.captures += captures if name is None else 16
        totals.violations += len(found)
        if found:
            all_found += [f"round {totals.rounds} (seed {round_seed}, files in {folder}): {what}" for what in found]
            say(all_found[-1])
        else:
            shutil.rmtree(folder)
        if time.monotonic() - told > 60:
            told = time.monotonic()
            say(f"  so far: {totals}")
    launcher.close()
    if postgres:
        server.close()
    shutil.rmtree(shared)
    return totals, met, all_found


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--kills", type=int, default=0, help="go on until so many held claims when they were killed"
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--captures", type=int, default=60)
    parser.add_argument("--old", action="store_true", help="only ledgers that 0.1.0 left in mid-upload")
    parser.add_argument(
        "--sweep", nargs="*", metavar="ROUTE", help="look for what these requests (all) have not met, and then end"
    )
    parser.add_argument("--postgres", action="store_true", help="the ledger is on a server of the harness' own")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()), help="gets the files")
    parser.add_argument("--matrix", action="store_true", help="print what met what")
    given = parser.parse_args()
    if given.postgres:
        on_postgres_or_not_at_all()
    swept = frozenset() if given.sweep is None else frozenset(given.sweep or ROUTES)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
    print(f"seed {seed}", flush=True)

    def say(line: str, to: TextIO = sys.stdout) -> None:
        print(line, file=to, flush=True)

    began = time.monotonic()
    totals, met, found = run(
        given.minutes * 60, given.kills, seed, given.captures, given.keep, given.old, say, swept, given.postgres
    )
    say(f"{totals}; in {(time.monotonic() - began) / 60:.1f} minutes")
    if given.matrix:
        say(str(met))
    for line in found:
        say(line)
    return 1 if found else 0


def _with_own_mounts() -> None:
    """Begin again where mounts are this process' own, if that can be had: for a disk that can be full."""
    if NAMESPACE in os.environ or shutil.which("unshare") is None:
        return
    if os.geteuid() != 0 and "--postgres" in sys.argv:
        return  # its server does not run as root, not even as one that is root in a room of its own
    wanted = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*wanted, "true"], capture_output=True).returncode == 0:
        command = [*wanted, sys.executable, "-m", "tests.crash.harness", *sys.argv[1:]]
        os.execvpe(wanted[0], command, {**os.environ, NAMESPACE: "1"})


if __name__ == "__main__":
    _with_own_mounts()
    sys.exit(main())
