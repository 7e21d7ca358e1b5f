"""What is wrong before a long run (`ctstate doctor`): many small checks, each of which reports by itself.

Nothing is changed anywhere: no ledger is made or migrated, nothing is created on Zooniverse. A scratch file beside
the ledger, which is taken away again, serves to test locks.
"""

import email.utils
import enum
import importlib
import importlib.metadata
import os
import re
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ctstate.cluster import tools
from ctstate.errors import CtstateError, LedgerError, NotFoundError, UsageError
from ctstate.ledger.migrate import HEAD
from ctstate.ledger.sqlite import file_system_of, ledger_path, on_network, parse_url
from ctstate.ledger.states import PENDING
from ctstate.verbs.doctor.locks import Locks, self_test, two_node_probe
from ctstate.zooniverse.credentials import DEFAULT_ENDPOINT, Credentials, read_credentials

if TYPE_CHECKING:  # the client library itself may be what is broken
    from ctstate.zooniverse.api import Account, Zooniverse

OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 26, 0)
"""What RHEL 8 and its relatives have, which many clusters still run."""

LITTLE_SPACE, NO_SPACE = 2 * 1024**3, 200 * 1024**2
"""Bytes free: below the first a long run may fill the disk; below the second it will."""

CLOCK_WARN_S, CLOCK_FAIL_S = 30.0, 240.0
"""The leases of runs last 300 s by the hosts' own clocks: hosts that differ by more take each other for dead."""

MAY_UPLOAD = frozenset({"owner", "collaborator"})


class Verdict(enum.StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"  # could not be made, as something it needs is missing; that has a line of its own

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Check:
    """A line of the page.

    Attributes:
        name: what was looked at.
        verdict: how it came out.
        seen: what was seen, one line.
        advice: what to do, one line; empty where nothing is to be done.
    """

    name: str
    verdict: Verdict
    seen: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """What to look at.

    Attributes:
        ledger: path or URL; need not exist.
        endpoint: of Zooniverse.
        project_id: to check the rights in it; None: not checked.
        password_file: as the verbs take it.
        log_dir: where logs will go; None: the working directory.
        nodes: 2 lets two Slurm nodes contend for a lock.
        partition, account: for that, as Slurm takes them.
    """

    ledger: str
    endpoint: str = DEFAULT_ENDPOINT
    project_id: int | None = None
    password_file: str | None = None
    log_dir: str | None = None
    nodes: int = 1
    partition: str | None = None
    account: str | None = None


@dataclass
class _Facts:
    """What earlier checks found, for later ones."""

    patient: Patient
    path: Path | None = None
    ledger: bool = False  # there is one that can be read
    credentials: Credentials | None = None
    zooniverse: "Zooniverse | None" = None
    me: "Account | None" = None


Result = tuple[Verdict, str, str]
OK, WARN, FAIL, SKIP = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIP


def examine(patient: Patient) -> Iterator[Check]:
    """Make every check, in the order of the page; none keeps the others from being made.

    Raises:
        UsageError: `nodes` is neither 1 nor 2.
    """
    if patient.nodes not in (1, 2):
        raise UsageError("--nodes is 1 or 2")
    facts = _Facts(patient)
    for name, make in _CHECKS:
        try:
            verdict, seen, advice = make(facts)
        except CtstateError as error:
            verdict, seen, advice = FAIL, str(error), ""
        except Exception as error:  # noqa: BLE001 - whatever is broken here is what doctor is asked for
            verdict, seen, advice = FAIL, f"{type(error).__name__}: {error}".splitlines()[0], ""
        yield Check(name, verdict, seen, advice)


# -- this computer ---------------------------------------------------------------------------------------------


def _python(facts: _Facts) -> Result:
    seen = f"Python {sys.version.split()[0]} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return FAIL, seen, "ctstate needs Python 3.11 or newer: load another module or make a new environment"
    return OK, seen, ""


def _libraries(facts: _Facts) -> Result:
    missing, old, found = [], [], []
    requirements = _requirements()
    if not requirements:
        return WARN, "what ctstate needs is unknown: it is not installed", "run `pip install ctstate`"
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        match = re.match(r"([A-Za-z0-9._-]+)(?:.*?>=\s*([0-9.]+))?", requirement)
        assert match is not None
        name, least = match[1], match[2] or "0"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        found.append(f"{name} {version}")
        if version_tuple(version) < version_tuple(least):
            old.append(f"{name} {version} (needs {least})")
    advice = "run `pip install -U ctstate` in this environment"
    if missing:
        return FAIL, f"missing: {', '.join(missing)}", advice
    if old:
        return FAIL, f"too old: {', '.join(old)}", advice
    return OK, ", ".join(found), ""


def _requirements() -> list[str]:
    """Return what ctstate needs, such as `click>=8.1`; in a checkout that is not installed, by its project file."""
    try:
        return importlib.metadata.requires("ctstate") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parents[3] / "pyproject.toml"
        text = project.read_text(encoding="utf-8") if project.is_file() else ""
        block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
        return re.findall(r'"([^"]+)"', block[1]) if block else []


def version_tuple(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: `2.0.25rc1` -> (2, 0, 25)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _sqlite(facts: _Facts) -> Result:
    seen = f"SQLite {sqlite3.sqlite_version}"
    if version_tuple(sqlite3.sqlite_version) < OLDEST_SQLITE:
        return FAIL, seen, "ctstate needs SQLite 3.26 or newer: use a Python from conda or python.org"
    return OK, seen, ""


def _client(facts: _Facts) -> Result:
    client = importlib.import_module("panoptes_client.subject")
    detection = getattr(client, "MEDIA_TYPE_DETECTION", "")
    if detection != "magic":
        # ctstate knows its images by itself; the CLI tells a file's type by its name then.
        return (
            WARN,
            "libmagic is not here; ctstate does without, but the panoptes CLI goes by file names",
            "if you use that CLI for images: install libmagic (`conda install libmagic`)",
        )
    return OK, "panoptes_client works, with libmagic", ""


def _encoder(facts: _Facts) -> Result:
    from ctstate.images import codecs

    if os.environ.get("CTSTATE_IMAGES") == "pillow":
        return (
            WARN,
            "Pillow, as CTSTATE_IMAGES=pillow says",
            "unset it to use the fast encoder where it is installed",
        )
    tools_there = codecs._tools()
    if tools_there is None:
        return WARN, "Pillow (several times slower)", "run `pip install 'ctstate[fast]'` for the fast encoder"
    return OK, "simplejpeg" + (" and OpenCV" if tools_there.cv2 is not None else ""), ""


def _slurm(facts: _Facts) -> Result:
    programs = ("sbatch", "squeue", "srun", "sinfo")
    there = [name for name in programs if tools.available(name)]
    if not there:
        return OK, "not here: `ctstate submit` works on a login node of a cluster only", ""
    if len(there) < len(programs):
        return WARN, f"only {', '.join(there)} on PATH", "load the module of your cluster's scheduler"
    try:
        version = tools.call(["sinfo", "--version"], timeout=tools.QUICK_S).strip()
        partitions = tools.call(["sinfo", "--noheader", "--format=%P"], timeout=tools.QUICK_S).split()
    except tools.SchedulerError as error:
        return WARN, str(error)[:160], "the scheduler does not answer: ask the centre's staff, or wait"
    return OK, f"{version}, partitions {', '.join(partitions[:8])}", ""


# -- the ledger ------------------------------------------------------------------------------------------------


def _ledger(facts: _Facts) -> Result:
    facts.path = ledger_path(parse_url(facts.patient.ledger))
    assert facts.path is not None
    if not facts.path.exists():
        folder = facts.path.absolute().parent
        if not folder.is_dir():
            return FAIL, f"the folder {folder} does not exist", "make it, or name another place with --ledger"
        if not os.access(folder, os.W_OK | os.X_OK):
            return FAIL, f"no permission to write in {folder}", "name another place with --ledger"
        return WARN, f"no ledger at {facts.path} yet", "`ctstate manifest` makes one; --ledger names another"
    if not os.access(facts.path, os.W_OK) or not os.access(facts.path.absolute().parent, os.W_OK):
        return FAIL, f"no permission to write {facts.path} or beside it", "ask its owner, or copy it elsewhere"
    version = _ask(facts.path, "SELECT version_num FROM alembic_version")[0][0]
    _ask(facts.path, "SELECT 1 FROM capture LIMIT 1")
    facts.ledger = version == HEAD
    if version == HEAD:
        return OK, f"{facts.path}, version {version}", ""
    if not str(version).isdigit() or version > HEAD:
        return FAIL, f"{facts.path} was made by a newer ctstate (version {version})", "run `pip install -U ctstate`"
    return (
        WARN,
        f"{facts.path} is of version {version}, this ctstate works with {HEAD}",
        "the next verb brings it up to date, after a backup copy",
    )


def _ask(path: Path, question: str) -> list[Any]:
    """Ask the ledger past all of ctstate: it may be of another version, or no ledger at all."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=20)) as connection:
            return connection.execute(question).fetchall()
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path}: not a readable ledger ({error})") from None


def _integrity(facts: _Facts) -> Result:
    if facts.path is None or not facts.path.exists():
        return SKIP, "no ledger", ""
    found = [str(row[0]) for row in _ask(facts.path, "PRAGMA quick_check(3)")]
    if found != ["ok"]:
        return FAIL, f"damaged: {found[0]}", "restore a backup copy; never copy a ledger while it is written"
    return OK, "quick_check finds nothing", ""


def _place(facts: _Facts) -> Result:
    if facts.path is None:
        return SKIP, "no ledger", ""
    kind = file_system_of(facts.path) or "unknown"
    journal = ""
    if facts.path.exists():
        journal = f", journal mode {_ask(facts.path, 'PRAGMA journal_mode')[0][0]}"
    if on_network(facts.path):
        wal = "wal" in journal
        return (
            FAIL if wal else WARN,
            f"{kind}, a file system that several hosts share{journal}",
            "write-ahead logging is unsafe between hosts: let no verb run, open it once with this ctstate"
            if wal
            else "test its locks between nodes with --nodes 2 before workers of several nodes share it",
        )
    return OK, f"{kind}{journal}", ""


def _locks(facts: _Facts) -> Result:
    if facts.path is None or not facts.path.absolute().parent.is_dir():
        return SKIP, "no place for a ledger", ""
    verdict = self_test(facts.path)
    return _of_locks(verdict.locks, f"{verdict.locks} between {verdict.between}: {verdict.detail}", verdict.advice)


def _locks_of_nodes(facts: _Facts) -> Result:
    if facts.patient.nodes < 2:
        return SKIP, "not asked for (--nodes 2)", ""
    if facts.path is None or not facts.path.absolute().parent.is_dir():
        return SKIP, "no place for a ledger", ""
    verdict = two_node_probe(facts.path, partition=facts.patient.partition, account=facts.patient.account)
    return _of_locks(verdict.locks, f"{verdict.locks} between {verdict.between}: {verdict.detail}", verdict.advice)


def _of_locks(locks: Locks, seen: str, advice: str) -> Result:
    return {Locks.HOLD: OK, Locks.DO_NOT_HOLD: FAIL, Locks.UNKNOWN: WARN}[locks], f"locks {seen}", advice


def _space(facts: _Facts) -> Result:
    places = {"ledger": facts.path.absolute().parent if facts.path is not None else None}
    places["logs"] = Path(facts.patient.log_dir or ".").absolute()
    seen, worst = [], OK
    for name, folder in places.items():
        while folder is not None and not folder.is_dir() and folder != folder.parent:
            folder = folder.parent  # a log folder is made when it is needed
        if folder is None:
            continue
        free = shutil.disk_usage(folder).free
        seen.append(f"{free / 1e9:,.1f} GB free for the {name}")
        if free < NO_SPACE:
            worst = FAIL
        elif free < LITTLE_SPACE and worst is OK:
            worst = WARN
    advice = "" if worst is OK else "make room, or put the ledger or the logs (--log-dir) elsewhere"
    return worst, "; ".join(seen) + " (a quota may be lower)", advice


# -- Zooniverse ------------------------------------------------------------------------------------------------


def _password(facts: _Facts) -> Result:
    given = facts.patient.password_file
    facts.credentials = read_credentials(given)
    if given is None and os.environ.get("PANOPTES_USERNAME") and os.environ.get("PANOPTES_PASSWORD"):
        return OK, f"account {facts.credentials.username}, from the environment", ""
    path = Path(given or "~/.panoptes/config.yml").expanduser()
    mode = stat.S_IMODE(path.stat().st_mode)
    seen = f"account {facts.credentials.username}, from {path}"
    if mode & 0o077:
        return WARN, f"{seen}, which others may read (mode {mode:03o})", f"run `chmod 600 {path}`"
    return OK, seen, ""


def _log_in(facts: _Facts) -> Result:
    if facts.credentials is None:
        return SKIP, "no account", ""
    from ctstate.zooniverse.api import Backoff, Timeouts, Zooniverse

    connection = Zooniverse(
        facts.patient.endpoint,
        facts.credentials,
        timeouts=Timeouts(connect=10, read=30),
        backoff=Backoff(first=0.5, most=2.0, give_up=5.0),
    )
    facts.me = connection.me()
    facts.zooniverse = connection
    seen = f"{facts.me.login} at {facts.patient.endpoint}"
    if facts.me.banned:
        return FAIL, f"{seen} is banned", "ask Zooniverse why (contact@zooniverse.org)"
    if facts.ledger:
        bound = _ask(facts.path, "SELECT value FROM meta WHERE name = 'endpoint'") if facts.path else []
        if bound and bound[0][0] != facts.patient.endpoint:
            return FAIL, f"{seen}, but the ledger belongs to {bound[0][0]}", "name the right one of the two"
    return OK, seen, ""


def _rights(facts: _Facts) -> Result:
    if facts.patient.project_id is None:
        return SKIP, "no --project-id", ""
    if facts.zooniverse is None or facts.me is None:
        return SKIP, "not logged in", ""
    try:
        project = facts.zooniverse.project(facts.patient.project_id)
    except NotFoundError as error:
        return FAIL, str(error), "check the number; its owner can make the account a collaborator"
    seen = f"project {facts.patient.project_id} ({project.get('display_name')})"
    roles = {
        role
        for row in facts.zooniverse.project_roles(facts.patient.project_id)
        if int(row["links"]["owner"]["id"]) == facts.me.id
        for role in row.get("roles", ())
    }
    if not roles & MAY_UPLOAD:
        has = f"only {', '.join(sorted(roles))}" if roles else "nobody"
        return (
            FAIL,
            f"{seen}: {facts.me.login} is {has} there and may not upload",
            "ask the project's owner to make the account a collaborator",
        )
    return OK, f"{seen}: {facts.me.login} is {', '.join(sorted(roles & MAY_UPLOAD))}", ""


def _allowance(facts: _Facts) -> Result:
    if facts.me is None:
        return SKIP, "not logged in", ""
    pending = 0
    if facts.ledger and facts.path is not None:
        states = ", ".join(f"'{state}'" for state in PENDING)
        question = (
            f"SELECT count(*) FROM capture WHERE excluded IS NULL AND subject_id IS NULL AND state IN ({states})"
        )
        pending = int(_ask(facts.path, question)[0][0])
    if facts.me.allowance is None:
        return OK, f"no limit known; {pending:,} pending", ""
    seen = f"{facts.me.allowance:,} of {facts.me.subject_limit:,} subjects are left; {pending:,} pending"
    if pending > facts.me.allowance:
        return WARN, seen, "ask Zooniverse (contact@zooniverse.org) to raise the account's limit before the upload"
    return OK, seen, ""


def _clock(facts: _Facts) -> Result:
    if facts.zooniverse is None:
        return SKIP, "not logged in", ""
    date = facts.zooniverse.server_date()
    if date is None:
        return SKIP, "the server does not say what time it is", ""
    return judge_clock(time.time() - email.utils.parsedate_to_datetime(date).timestamp())


def judge_clock(ahead: float) -> Result:
    """Return the verdict on a clock that is so many seconds ahead of the server's, which tells whole seconds."""
    seen = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if abs(ahead) > CLOCK_WARN_S:
        return (
            FAIL if abs(ahead) > CLOCK_FAIL_S else WARN,
            seen,
            "ask the centre's staff to set it (NTP): runs on other hosts may be taken for dead",
        )
    return OK, "agrees with the server's", ""


_CHECKS: Sequence[tuple[str, Callable[[_Facts], Result]]] = (
    ("Python", _python),
    ("libraries", _libraries),
    ("SQLite", _sqlite),
    ("client, libmagic", _client),
    ("image encoder", _encoder),
    ("Slurm", _slurm),
    ("ledger", _ledger),
    ("ledger's integrity", _integrity),
    ("ledger's place", _place),
    ("locks", _locks),
    ("locks, two nodes", _locks_of_nodes),
    ("disk space", _space),
    ("account", _password),
    ("log-in", _log_in),
    ("project rights", _rights),
    ("allowance", _allowance),
    ("clock", _clock),
)
