"""The cluster room: Slurm (and PBS) runs the workers. Nothing in here knows the ledger or Zooniverse.

tools.py     the scheduler's programs, called with a time limit and without the user's filters
queue.py     what squeue says of jobs, and which runs are therefore gone (a ledger is given this)
scripts.py   the batch scripts, as text
"""
