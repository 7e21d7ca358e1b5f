"""What is wrong before a long run (`ctstate doctor`): many small checks, each of which reports by itself.

Nothing is changed anywhere: no ledger is made or migrated, nothing is created on Zooniverse. A scratch file beside
the ledger, which is taken away again, serves to test locks.
"""

from collections.abc import Callable, Iterator, Sequence

from ctstate.errors import CtstateError, UsageError
from ctstate.verbs.doctor import cluster, images, installation, ledger, zooniverse
from ctstate.verbs.doctor.findings import FAIL, Check, Facts, Patient, Result, Verdict

__all__ = ["CHECKS", "Check", "Patient", "Verdict", "examine"]

CHECKS: Sequence[tuple[str, Callable[[Facts], Result]]] = (
    ("Python", installation.python),
    ("libraries", installation.libraries),
    ("SQLite", installation.sqlite),
    ("client, libmagic", installation.client),
    ("image encoder", images.encoder),
    ("Slurm", cluster.slurm),
    ("ledger", ledger.ledger),
    ("ledger's server", ledger.server),
    ("ledger's integrity", ledger.integrity),
    ("ledger's place", ledger.place),
    ("locks", ledger.locks),
    ("locks, two nodes", cluster.locks_of_nodes),
    ("disk space", ledger.space),
    ("account", zooniverse.password),
    ("log-in", zooniverse.log_in),
    ("project rights", zooniverse.rights),
    ("allowance", zooniverse.allowance),
    ("clock", zooniverse.clock),
)


def examine(patient: Patient) -> Iterator[Check]:
    """Make every check, in the order of the page; none keeps the others from being made.

    Raises:
        UsageError: `nodes` is neither 1 nor 2.
    """
    if patient.nodes not in (1, 2):
        raise UsageError("--nodes is 1 or 2")
    facts = Facts(patient)
    for name, make in CHECKS:
        try:
            verdict, seen, advice = make(facts)
        except CtstateError as error:
            verdict, seen, advice = FAIL, str(error), ""
        except Exception as error:  # noqa: BLE001 - whatever is broken here is what doctor is asked for
            verdict, seen, advice = FAIL, f"{type(error).__name__}: {error}".splitlines()[0], ""
        yield Check(name, verdict, seen, advice)
