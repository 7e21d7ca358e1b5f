"""Slurm, and whether locks hold between its nodes."""

from ctstate.cluster import tools
from ctstate.verbs.doctor.findings import OK, SKIP, WARN, Facts, Result
from ctstate.verbs.doctor.ledger import of_locks
from ctstate.verbs.doctor.locks import two_node_probe


def slurm(facts: Facts) -> Result:
    """Return whether Slurm is here and answers."""
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


def locks_of_nodes(facts: Facts) -> Result:
    """Return whether locks hold between two nodes, where that was asked for."""
    if facts.patient.nodes < 2:
        return SKIP, "not asked for (--nodes 2)", ""
    if facts.path is None or not facts.path.absolute().parent.is_dir():
        return SKIP, "no place for a ledger", ""
    return of_locks(two_node_probe(facts.path, partition=facts.patient.partition, account=facts.patient.account))
