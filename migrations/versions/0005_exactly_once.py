"""What exactly-once was still missing in the ledger: a heartbeat that is counted, strangers that a person accepted,
and triggers for what only code had promised.

Revision: 0005, after 0004. `batch.lease_until` is used no more (a lease lasts as long as its run lives); it stays,
as SQLite 3.26 cannot drop a column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.String(27)


def refuse(name: str, event: str, message: str, when: str) -> str:
    """A trigger that refuses what `event` and `when` describe."""
    return f"CREATE TRIGGER {name} BEFORE {event} WHEN {when} BEGIN SELECT RAISE(ABORT, 'ctstate: {message}'); END"


TRIGGERS = [
    # UPDATE OR REPLACE would delete the row that has the value already, and fires no DELETE trigger.
    refuse(
        "capture_subject_taken",
        "UPDATE OF subject_id ON capture",
        "another capture has that subject",
        "NEW.subject_id IS NOT NULL AND NEW.subject_id IS NOT OLD.subject_id"
        " AND EXISTS (SELECT 1 FROM capture WHERE subject_id = NEW.subject_id)",
    ),
    refuse(
        "capture_subject_stays",
        "UPDATE OF subject_id ON capture",
        "a subject is forgotten before another one takes its place",
        "OLD.subject_id IS NOT NULL AND NEW.subject_id IS NOT NULL AND NEW.subject_id <> OLD.subject_id",
    ),
    refuse("capture_claim", "UPDATE OF claim ON capture", "claims only grow", "NEW.claim < OLD.claim"),
]

POSTGRESQL_TRIGGERS = [
    """
CREATE FUNCTION ctstate_capture_subject_taken() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM capture WHERE subject_id = NEW.subject_id) THEN
        RAISE EXCEPTION 'ctstate: another capture has that subject'
        USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
""",
    "CREATE TRIGGER capture_subject_taken BEFORE UPDATE OF subject_id ON capture FOR EACH ROW"
    " WHEN (NEW.subject_id IS NOT NULL AND NEW.subject_id IS DISTINCT FROM OLD.subject_id)"
    " EXECUTE FUNCTION ctstate_capture_subject_taken()",
    "CREATE TRIGGER capture_subject_stays BEFORE UPDATE OF subject_id ON capture FOR EACH ROW"
    " WHEN (OLD.subject_id IS NOT NULL AND NEW.subject_id IS NOT NULL AND NEW.subject_id <> OLD.subject_id)"
    " EXECUTE FUNCTION ctstate_refuse('a subject is forgotten before another one takes its place')",
    "CREATE TRIGGER capture_claim BEFORE UPDATE OF claim ON capture FOR EACH ROW WHEN (NEW.claim < OLD.claim)"
    " EXECUTE FUNCTION ctstate_refuse('claims only grow')",
]


def upgrade() -> None:
    op.add_column("run", sa.Column("beats", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "accepted_subject",
        sa.Column("subject_id", KEY, nullable=False),
        sa.Column("run_id", KEY),
        sa.Column("accepted_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name="pk_accepted_subject"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_accepted_subject_run_id"),
    )
    # Until now the watermark stood still while a run made subjects: all that the ledger knows lies below it from
    # here.
    op.execute(
        "UPDATE run SET watermark = (SELECT max(subject_id) FROM capture) WHERE watermark IS NOT NULL"
        " AND id IN (SELECT max(id) FROM run WHERE watermark IS NOT NULL GROUP BY project_id, uploader_id)"
        " AND watermark < (SELECT max(subject_id) FROM capture)"
    )
    for trigger in POSTGRESQL_TRIGGERS if op.get_bind().dialect.name == "postgresql" else TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    raise NotImplementedError("put the backup copy back that was made beside the ledger")
