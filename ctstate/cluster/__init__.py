"""The cluster room: a scheduler (Slurm, PBS) runs the workers. Nothing in here knows the ledger or Zooniverse.

tools.py        the scheduler's programs, called with a time limit and without the user's filters
queue.py        what a scheduler says of jobs, and which runs are therefore gone
slurm.py        how Slurm is asked that
pbs.py          how PBS is asked that
schedulers.py   which there are, and who is asked when (a ledger is given this)
partitions.py   how long a job may run where
scripts.py      the batch scripts, as text
"""
