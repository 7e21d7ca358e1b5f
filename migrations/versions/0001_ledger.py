"""The ledger: tables, the state machine as data, and the triggers that guard it.

Revision: 0001. A migration is frozen: it repeats the tables as they were then, and never imports them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.String(27)

STATES = ["manifested", "predicted", "batched", "uploading", "uploaded", "failed", "removed", "deleted"]
TRANSITIONS = [
    ("", "manifested", "manifest or adopt made the capture known"),
    ("manifested", "predicted", "predict attached predictions"),
    ("manifested", "batched", "batch put it into a batch"),
    ("predicted", "batched", "batch put it into a batch"),
    ("batched", "uploading", "a run claimed it"),
    ("uploading", "batched", "the run released it, or was gone and it was recovered"),
    ("uploading", "uploaded", "subject created, images whole, linked to the subject set"),
    ("uploading", "failed", "given up, with the reason"),
    ("failed", "batched", "retry"),
    ("removed", "batched", "retry"),
    ("deleted", "batched", "retry"),
    ("uploaded", "removed", "remove, or reconcile found it unlinked"),
    ("uploaded", "deleted", "delete, or reconcile found its subject gone"),
    ("removed", "deleted", "delete, or reconcile found its subject gone"),
    ("failed", "deleted", "delete of a subject that a failed upload left behind"),
    ("uploaded", "batched", "reconcile found images missing: to be put again"),
    ("manifested", "uploaded", "reconcile or adopt found it on Zooniverse"),
    ("predicted", "uploaded", "reconcile or adopt found it on Zooniverse"),
    ("batched", "uploaded", "reconcile or adopt found it on Zooniverse"),
    ("failed", "uploaded", "reconcile found it on Zooniverse"),
    ("removed", "uploaded", "reconcile found it linked again"),
]

# A move made by ctstate always sets moved_at. Where it did not change, somebody else moved the capture: the
# history then says so, instead of blaming the run that moved it before.
EVENT_OF_MOVE = """
INSERT INTO event (capture_id, at, source, target, run_id, subject_id, reason)
VALUES (NEW.id,
        CASE WHEN NEW.moved_at IS OLD.moved_at THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now') ELSE NEW.moved_at END,
        OLD.state, NEW.state,
        CASE WHEN NEW.moved_at IS OLD.moved_at THEN NULL ELSE NEW.run_id END,
        NEW.subject_id,
        CASE WHEN NEW.moved_at IS OLD.moved_at THEN 'moved outside ctstate' ELSE NEW.reason END)
"""


def refuse(name: str, event: str, message: str, when: str = "") -> str:
    """A trigger that refuses what `event` (and `when`) describe."""
    condition = f" WHEN {when}" if when else ""
    return f"CREATE TRIGGER {name} BEFORE {event}{condition} BEGIN SELECT RAISE(ABORT, 'ctstate: {message}'); END"


SQLITE_TRIGGERS = [
    # INSERT OR REPLACE deletes the old row without firing delete triggers: refuse it before it starts.
    refuse(
        "capture_new",
        "INSERT ON capture",
        "a new capture must be manifested and have an id of its own",
        "NOT EXISTS (SELECT 1 FROM transition WHERE source = '' AND target = NEW.state)"
        " OR EXISTS (SELECT 1 FROM capture WHERE capture_id = NEW.capture_id)"
        " OR EXISTS (SELECT 1 FROM capture WHERE id = NEW.id)"
        " OR EXISTS (SELECT 1 FROM capture WHERE subject_id = NEW.subject_id)",
    ),
    refuse(
        "capture_move",
        "UPDATE OF state ON capture",
        "the state machine does not know that move (see the table transition)",
        "NEW.state IS NOT OLD.state AND NOT EXISTS"
        " (SELECT 1 FROM transition WHERE source = OLD.state AND target = NEW.state)",
    ),
    refuse(
        "capture_identity",
        "UPDATE OF id, capture_id ON capture",
        "the id of a capture never changes",
        "NEW.id IS NOT OLD.id OR NEW.capture_id IS NOT OLD.capture_id",
    ),
    refuse("capture_stays", "DELETE ON capture", "captures are never deleted, only excluded or moved"),
    "CREATE TRIGGER capture_made AFTER INSERT ON capture BEGIN"
    " INSERT INTO event (capture_id, at, source, target, run_id, subject_id, reason)"
    " VALUES (NEW.id, NEW.moved_at, NULL, NEW.state, NEW.run_id, NEW.subject_id, NEW.reason); END",
    "CREATE TRIGGER capture_moved AFTER UPDATE OF state ON capture WHEN NEW.state IS NOT OLD.state BEGIN"
    f" {EVENT_OF_MOVE.strip()}; END",
    refuse("event_update", "UPDATE ON event", "history is append-only"),
    refuse("event_delete", "DELETE ON event", "history is append-only"),
    refuse(
        "event_replace",
        "INSERT ON event",
        "history is append-only",
        "EXISTS (SELECT 1 FROM event WHERE id = NEW.id)",
    ),
    *[
        refuse(
            f"{table}_{event.lower()}",
            f"{event} ON {table}",
            "the state machine is changed by migrations only",
        )
        for table in ("state", "transition")
        for event in ("INSERT", "UPDATE", "DELETE")
    ],
]

POSTGRESQL_NOW = """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def postgresql_refusal(name: str, event: str, message: str, when: str = "", each: str = "ROW") -> str:
    """As `refuse`, for what a condition without a question can describe."""
    condition = f" WHEN ({when})" if when else ""
    return (
        f"CREATE TRIGGER {name} BEFORE {event} FOR EACH {each}{condition}"
        f" EXECUTE FUNCTION ctstate_refuse('{message}')"
    )


def postgresql_function(name: str, body: str) -> str:
    """A function for a trigger."""
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body.strip()} END $$"


# PostgreSQL refuses a second row of a key by itself, also in `event`, and has no REPLACE; TRUNCATE fires no DELETE
# trigger there.
POSTGRESQL_TRIGGERS = [
    postgresql_function(
        "ctstate_refuse",
        "RAISE EXCEPTION 'ctstate: %', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';",
    ),
    postgresql_function(
        "ctstate_capture_new",
        """
IF NOT EXISTS (SELECT 1 FROM transition WHERE source = '' AND target = NEW.state)
   OR EXISTS (SELECT 1 FROM capture WHERE capture_id = NEW.capture_id)
   OR EXISTS (SELECT 1 FROM capture WHERE id = NEW.id)
   OR EXISTS (SELECT 1 FROM capture WHERE subject_id = NEW.subject_id) THEN
    RAISE EXCEPTION 'ctstate: a new capture must be manifested and have an id of its own'
    USING ERRCODE = 'integrity_constraint_violation';
END IF;
RETURN NEW;
""",
    ),
    "CREATE TRIGGER capture_new BEFORE INSERT ON capture FOR EACH ROW EXECUTE FUNCTION ctstate_capture_new()",
    postgresql_function(
        "ctstate_capture_move",
        """
IF NOT EXISTS (SELECT 1 FROM transition WHERE source = OLD.state AND target = NEW.state) THEN
    RAISE EXCEPTION 'ctstate: the state machine does not know that move (see the table transition)'
    USING ERRCODE = 'integrity_constraint_violation';
END IF;
RETURN NEW;
""",
    ),
    "CREATE TRIGGER capture_move BEFORE UPDATE OF state ON capture FOR EACH ROW"
    " WHEN (NEW.state IS DISTINCT FROM OLD.state) EXECUTE FUNCTION ctstate_capture_move()",
    postgresql_refusal(
        "capture_identity",
        "UPDATE OF id, capture_id ON capture",
        "the id of a capture never changes",
        "NEW.id IS DISTINCT FROM OLD.id OR NEW.capture_id IS DISTINCT FROM OLD.capture_id",
    ),
    postgresql_refusal("capture_stays", "DELETE ON capture", "captures are never deleted, only excluded or moved"),
    postgresql_refusal(
        "capture_truncate",
        "TRUNCATE ON capture",
        "captures are never deleted, only excluded or moved",
        each="STATEMENT",
    ),
    postgresql_function(
        "ctstate_capture_made",
        """
INSERT INTO event (capture_id, at, source, target, run_id, subject_id, reason)
VALUES (NEW.id, NEW.moved_at, NULL, NEW.state, NEW.run_id, NEW.subject_id, NEW.reason);
RETURN NULL;
""",
    ),
    "CREATE TRIGGER capture_made AFTER INSERT ON capture FOR EACH ROW EXECUTE FUNCTION ctstate_capture_made()",
    postgresql_function(
        "ctstate_capture_moved",
        f"""
INSERT INTO event (capture_id, at, source, target, run_id, subject_id, reason)
VALUES (NEW.id,
        CASE WHEN NEW.moved_at IS NOT DISTINCT FROM OLD.moved_at THEN {POSTGRESQL_NOW} ELSE NEW.moved_at END,
        OLD.state, NEW.state,
        CASE WHEN NEW.moved_at IS NOT DISTINCT FROM OLD.moved_at THEN NULL ELSE NEW.run_id END,
        NEW.subject_id,
        CASE WHEN NEW.moved_at IS NOT DISTINCT FROM OLD.moved_at THEN 'moved outside ctstate' ELSE NEW.reason END);
RETURN NULL;
""",
    ),
    "CREATE TRIGGER capture_moved AFTER UPDATE OF state ON capture FOR EACH ROW"
    " WHEN (NEW.state IS DISTINCT FROM OLD.state) EXECUTE FUNCTION ctstate_capture_moved()",
    postgresql_refusal(
        "event_stays", "UPDATE OR DELETE OR TRUNCATE ON event", "history is append-only", each="STATEMENT"
    ),
    *[
        postgresql_refusal(
            f"{table}_stays",
            f"INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}",
            "the state machine is changed by migrations only",
            each="STATEMENT",
        )
        for table in ("state", "transition")
    ],
]


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    state = op.create_table(
        "state",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_state"),
    )
    transition = op.create_table(
        "transition",
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "target", name="pk_transition"),
        sa.ForeignKeyConstraint(["target"], ["state.name"], name="fk_transition_target"),
    )
    op.create_table(
        "run",
        sa.Column("id", KEY, nullable=False),
        sa.Column("verb", sa.String(40), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("username", sa.String(80), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("host_id", sa.String(120), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_started", sa.String(40), nullable=False),
        sa.Column("slurm_job", sa.String(40)),
        sa.Column("slurm_task", sa.String(40)),
        sa.Column("log_file", sa.Text()),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("heartbeat_at", TIME, nullable=False),
        sa.Column("stop_requested_at", TIME),
        sa.Column("ended_at", TIME),
        sa.Column("outcome", sa.String(16)),
        sa.Column("message", sa.Text()),
        sa.Column("project_id", KEY),
        sa.Column("uploader_id", KEY),
        sa.Column("watermark", KEY),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_index("ix_run_ended_at", "run", ["ended_at"])
    op.create_table(
        "season",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("attribution", sa.Text(), nullable=False),
        sa.Column("license", sa.Text(), nullable=False),
        sa.Column("images_root", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_season"),
        sa.UniqueConstraint("name", name="uq_season_name"),
    )
    op.create_table(
        "batch",
        sa.Column("id", KEY, nullable=False),
        sa.Column("season_id", KEY, nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("project_id", KEY),
        sa.Column("subject_set_id", KEY),
        sa.Column("subject_set_name", sa.Text()),
        sa.Column("lease_run_id", KEY),
        sa.Column("lease_token", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("lease_until", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_batch"),
        sa.ForeignKeyConstraint(["season_id"], ["season.id"], name="fk_batch_season_id"),
        sa.ForeignKeyConstraint(["lease_run_id"], ["run.id"], name="fk_batch_lease_run_id"),
        sa.UniqueConstraint("season_id", "name", name="uq_batch_season_id_name"),
    )
    op.create_table(
        "capture",
        sa.Column("id", KEY, nullable=False),
        sa.Column("capture_id", sa.String(255), nullable=False),
        sa.Column("season_id", KEY, nullable=False),
        sa.Column("season", sa.String(120), nullable=False),
        sa.Column("site", sa.String(255), nullable=False),
        sa.Column("roll", sa.String(80), nullable=False),
        sa.Column("capture", sa.String(40), nullable=False),
        sa.Column("capture_number", KEY, nullable=False),
        sa.Column("metadata", sa.Text()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("excluded", sa.Text()),
        sa.Column("batch_id", KEY),
        sa.Column("subject_id", KEY),
        sa.Column("run_id", KEY),
        sa.Column("moved_at", TIME, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("claim", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("create_run_id", KEY),
        sa.Column("create_sent_at", TIME),
        sa.Column("create_floor", KEY),
        sa.Column("ambiguous_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_capture"),
        sa.ForeignKeyConstraint(["season_id"], ["season.id"], name="fk_capture_season_id"),
        sa.ForeignKeyConstraint(["state"], ["state.name"], name="fk_capture_state"),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_capture_batch_id"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_capture_run_id"),
        sa.ForeignKeyConstraint(["create_run_id"], ["run.id"], name="fk_capture_create_run_id"),
        sa.UniqueConstraint("capture_id", name="uq_capture_capture_id"),
        sa.UniqueConstraint("subject_id", name="uq_capture_subject_id"),
        sa.CheckConstraint("subject_id IS NOT NULL OR state NOT IN ('uploaded', 'removed')", name="has_subject"),
        sa.CheckConstraint("batch_id IS NOT NULL OR state IN ('manifested', 'predicted')", name="has_batch"),
        sa.CheckConstraint("run_id IS NOT NULL OR state <> 'uploading'", name="has_run"),
        sa.CheckConstraint("ambiguous_at IS NULL OR subject_id IS NULL", name="ambiguous_or_known"),
        sa.CheckConstraint(
            "create_sent_at IS NULL OR ambiguous_at IS NOT NULL OR state = 'uploading'",
            name="doubt_is_marked",
        ),
    )
    op.create_index("ix_capture_work", "capture", ["season_id", "batch_id", "state", "excluded", "id"])
    op.create_index("ix_capture_order", "capture", ["season_id", "season", "site", "roll", "capture_number"])
    op.create_table(
        "image",
        sa.Column("id", KEY, nullable=False),
        sa.Column("capture_id", KEY, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("problem", sa.String(16)),
        sa.Column("problem_reason", sa.Text()),
        sa.Column("md5", sa.String(32)),
        sa.Column("bytes", sa.Integer()),
        sa.Column("note", sa.Text()),
        sa.Column("arrived_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_image"),
        sa.ForeignKeyConstraint(["capture_id"], ["capture.id"], name="fk_image_capture_id"),
        sa.UniqueConstraint("capture_id", "rank", name="uq_image_capture_id_rank"),
    )
    op.create_table(
        "prediction",
        sa.Column("id", KEY, nullable=False),
        sa.Column("capture_id", KEY, nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("run_id", KEY),
        sa.Column("made_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prediction"),
        sa.ForeignKeyConstraint(["capture_id"], ["capture.id"], name="fk_prediction_capture_id"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_prediction_run_id"),
        sa.UniqueConstraint("capture_id", "source", name="uq_prediction_capture_id_source"),
    )
    op.create_table(
        "event",
        sa.Column("id", KEY, nullable=False),
        sa.Column("capture_id", KEY, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("source", sa.String(16)),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("run_id", KEY),
        sa.Column("subject_id", KEY),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.ForeignKeyConstraint(["capture_id"], ["capture.id"], name="fk_event_capture_id"),
    )
    op.create_index("ix_event_capture_id", "event", ["capture_id"])
    op.create_index("ix_event_run_id_target", "event", ["run_id", "target"])
    op.bulk_insert(state, [{"name": name, "rank": rank} for rank, name in enumerate(STATES)])
    op.bulk_insert(transition, [{"source": s, "target": t, "meaning": m} for s, t, m in TRANSITIONS])
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    for trigger in POSTGRESQL_TRIGGERS if on_postgresql else SQLITE_TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    raise NotImplementedError("the first revision has nothing before it: delete the ledger's file instead")
