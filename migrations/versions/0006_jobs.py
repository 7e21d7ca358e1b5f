"""Jobs of a cluster: which job a run is, and what `submit` remembers of the arrays that it submits.

Until now both stood as JSON in `run.arguments`. What can be read there is carried over; the arguments stay as they
are, as a record of how the run was called.

Revision: 0006, after 0005.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def facts_of(arguments: str) -> dict[str, Any]:
    """A run's arguments; nothing where they are no JSON object."""
    try:
        found = json.loads(arguments)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def carry_over_jobs(connection: sa.Connection) -> None:
    """What a run in a job wrote down of it: {"cluster", "user_id", "job", "task", "restarts"}."""
    rows = connection.execute(sa.text("SELECT id, arguments FROM run WHERE slurm_job IS NOT NULL")).all()
    for row in rows:
        job = facts_of(row.arguments).get("slurm")
        if isinstance(job, dict) and {"cluster", "user_id", "job", "task", "restarts"} == set(job):
            connection.execute(
                sa.text(
                    "UPDATE run SET slurm_cluster = :cluster, slurm_user_id = :user_id, slurm_restarts = :restarts"
                    " WHERE id = :id"
                ),
                {"id": row.id, **{name: job[name] for name in ("cluster", "user_id", "restarts")}},
            )


SUBMISSION = sa.text(
    "INSERT INTO submission (run_id, chain_id, follows_id, round, idle_rounds, pending, array_job, link_job,"
    " ended_by, season_id, batch, ledger, endpoint, upload_arguments, folder, log_folder, scheduler, max_rounds,"
    " job_name, workers, at_once, walltime, cpus, memory, partition, account, mail_user, requeue, stop_before,"
    " more_options) "
    "SELECT :run_id, :chain_id, :follows_id, :round, :idle_rounds, :pending, :array_job, :link_job, :ended_by,"
    " s.id, :batch, :ledger, :endpoint, :upload_arguments, :folder, :log_folder, :scheduler, :max_rounds,"
    " :job_name, :workers, :at_once, :walltime, :cpus, :memory, :partition, :account, :mail_user, :requeue,"
    " :stop_before, :more_options FROM season s WHERE s.name = :season"
)


def carry_over_submissions(connection: sa.Connection) -> None:
    """What `submit` wrote down; a run of which something is missing is left as it is, and its chain ends."""
    rows = connection.execute(
        sa.text("SELECT id, verb, arguments FROM run WHERE verb IN ('submit', 'stop') ORDER BY id")
    ).all()
    ends = [row.id for row in rows if row.verb == "stop" and facts_of(row.arguments).get("all")]
    known = {row.id for row in rows}
    for row in rows:
        facts = facts_of(row.arguments)
        if row.verb != "submit" or "order" not in facts:
            continue
        try:
            order, job = facts["order"], facts["order"]["job"]
            chain = facts.get("chain", row.id)
            follows = facts.get("after")
            if not {chain, follows} - {None} <= known:
                continue
            jobs = [*facts.get("jobs", ()), None, None]
            values = {
                "run_id": row.id,
                "chain_id": chain,
                "follows_id": follows,
                "round": facts["round"],
                "idle_rounds": facts["idle"],
                "pending": facts["pending"],
                "array_job": jobs[0],
                "link_job": jobs[1],
                "ended_by": next((end for end in ends if end > chain), None),
                **{name: order[name] for name in ("season", "batch", "ledger", "endpoint", "folder", "log_folder")},
                "upload_arguments": json.dumps(order["upload"]),
                **{name: order[name] for name in ("scheduler", "max_rounds")},
                **{name: job[name] for name in ("job_name", "workers", "at_once", "cpus", "memory", "partition")},
                **{name: job[name] for name in ("account", "mail_user", "requeue", "stop_before")},
                "walltime": job["time"],
                "more_options": json.dumps(job["more"]),
            }
        except (KeyError, TypeError):
            continue
        connection.execute(SUBMISSION, values)


def upgrade() -> None:
    op.add_column("run", sa.Column("slurm_cluster", sa.Text()))
    op.add_column("run", sa.Column("slurm_user_id", sa.Integer()))
    op.add_column("run", sa.Column("slurm_restarts", sa.Integer()))
    op.create_table(
        "submission",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("chain_id", KEY, nullable=False),
        sa.Column("follows_id", KEY),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("idle_rounds", sa.Integer(), nullable=False),
        sa.Column("pending", sa.Integer(), nullable=False),
        sa.Column("array_job", sa.String(40)),
        sa.Column("link_job", sa.String(40)),
        sa.Column("ended_by", KEY),
        sa.Column("season_id", KEY, nullable=False),
        sa.Column("batch", sa.String(120)),
        sa.Column("ledger", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("upload_arguments", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("log_folder", sa.Text(), nullable=False),
        sa.Column("scheduler", sa.String(16), nullable=False),
        sa.Column("max_rounds", sa.Integer(), nullable=False),
        sa.Column("job_name", sa.Text(), nullable=False),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("at_once", sa.Integer()),
        sa.Column("walltime", sa.String(40), nullable=False),
        sa.Column("cpus", sa.Integer()),
        sa.Column("memory", sa.Text()),
        sa.Column("partition", sa.Text()),
        sa.Column("account", sa.Text()),
        sa.Column("mail_user", sa.Text()),
        sa.Column("requeue", sa.Boolean(), nullable=False),
        sa.Column("stop_before", sa.Integer(), nullable=False),
        sa.Column("more_options", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_submission"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_submission_run_id"),
        sa.ForeignKeyConstraint(["chain_id"], ["run.id"], name="fk_submission_chain_id"),
        sa.ForeignKeyConstraint(["follows_id"], ["run.id"], name="fk_submission_follows_id"),
        sa.ForeignKeyConstraint(["ended_by"], ["run.id"], name="fk_submission_ended_by"),
        sa.ForeignKeyConstraint(["season_id"], ["season.id"], name="fk_submission_season_id"),
    )
    connection = op.get_bind()
    carry_over_jobs(connection)
    carry_over_submissions(connection)


def downgrade() -> None:
    raise NotImplementedError("put the backup copy back that was made beside the ledger")
