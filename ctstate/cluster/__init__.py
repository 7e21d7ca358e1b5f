"""Slurm (and PBS) runs the workers.

    tools.py    the scheduler's programs, called with a time limit and without the user's filters
    queue.py    what squeue says of jobs, and which runs are therefore gone (the ledger asks this)
    script.py   the batch scripts, as text (pure)
    submit.py   `ctstate submit`: a job array, and the chain of those that follow it

Nothing is imported here: the ledger needs `queue`, and `submit` needs the ledger.
"""
