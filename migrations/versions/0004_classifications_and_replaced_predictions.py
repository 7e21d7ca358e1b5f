"""What volunteers did with the subjects, and predictions that subjects carry but the ledger has replaced.

Revision: 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.String(27)

NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


def on_zooniverse(row: str) -> str:
    """Also what a run is uploading at this moment: that run has read the prediction as it was."""
    return (
        f"EXISTS (SELECT 1 FROM capture c WHERE c.id = {row}.capture_id"
        " AND (c.subject_id IS NOT NULL OR c.create_sent_at IS NOT NULL OR c.state = 'uploading'))"
    )


# Whoever changes a prediction, and however, the keys that its subject carries are not forgotten: update-metadata
# takes them off. REPLACE fires no DELETE trigger in SQLite, hence the one before an INSERT.
TRIGGERS = {
    "prediction_updated": f"""
AFTER UPDATE OF metadata ON prediction
WHEN OLD.metadata <> NEW.metadata AND {on_zooniverse("OLD")}
BEGIN
    INSERT INTO replaced_prediction (capture_id, source, metadata, replaced_at)
    VALUES (OLD.capture_id, OLD.source, OLD.metadata, {NOW});
END
""",
    "prediction_removed": f"""
AFTER DELETE ON prediction
WHEN {on_zooniverse("OLD")}
BEGIN
    INSERT INTO replaced_prediction (capture_id, source, metadata, replaced_at)
    VALUES (OLD.capture_id, OLD.source, OLD.metadata, {NOW});
END
""",
    "prediction_replaced": f"""
BEFORE INSERT ON prediction
WHEN {on_zooniverse("NEW")}
BEGIN
    INSERT INTO replaced_prediction (capture_id, source, metadata, replaced_at)
    SELECT p.capture_id, p.source, p.metadata, {NOW} FROM prediction p
    WHERE p.capture_id = NEW.capture_id AND p.source = NEW.source AND p.metadata <> NEW.metadata;
END
""",
}

# PostgreSQL has no REPLACE; an INSERT ... ON CONFLICT that updates fires the triggers of an UPDATE, and TRUNCATE
# none that knows rows.
POSTGRESQL_NOW = """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

POSTGRESQL_TRIGGERS = [
    f"""
CREATE FUNCTION ctstate_prediction_replaced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {on_zooniverse("OLD")} THEN
        INSERT INTO replaced_prediction (capture_id, source, metadata, replaced_at)
        VALUES (OLD.capture_id, OLD.source, OLD.metadata, {POSTGRESQL_NOW});
    END IF;
    RETURN NULL;
END $$
""",
    "CREATE TRIGGER prediction_updated AFTER UPDATE OF metadata ON prediction FOR EACH ROW"
    " WHEN (OLD.metadata <> NEW.metadata) EXECUTE FUNCTION ctstate_prediction_replaced()",
    "CREATE TRIGGER prediction_removed AFTER DELETE ON prediction FOR EACH ROW"
    " EXECUTE FUNCTION ctstate_prediction_replaced()",
    "CREATE TRIGGER prediction_truncate BEFORE TRUNCATE ON prediction FOR EACH STATEMENT"
    " EXECUTE FUNCTION ctstate_refuse('predictions are deleted row by row, as subjects may carry them')",
]

# A count that was read of an earlier subject of the capture is history, not its state.
V_CLASSIFICATIONS = """
SELECT c.capture_id, s.name AS season, c.site, c.roll, b.name AS batch, c.state, c.subject_id,
       k.workflow_id, k.classifications_count, k.retired_at, k.retirement_reason, k.seen_at
FROM classification_status k JOIN capture c ON c.id = k.capture_id AND c.subject_id = k.subject_id
JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
"""


def upgrade() -> None:
    op.create_table(
        "classification_status",
        sa.Column("capture_id", KEY, nullable=False),
        sa.Column("workflow_id", KEY, nullable=False),
        sa.Column("subject_id", KEY, nullable=False),
        sa.Column("classifications_count", sa.Integer(), nullable=False),
        sa.Column("retired_at", sa.String(40)),
        sa.Column("retirement_reason", sa.String(40)),
        sa.Column("seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("capture_id", "workflow_id", name="pk_classification_status"),
        sa.ForeignKeyConstraint(["capture_id"], ["capture.id"], name="fk_classification_status_capture_id"),
    )
    op.create_table(
        "replaced_prediction",
        sa.Column("id", KEY, nullable=False),
        sa.Column("capture_id", KEY, nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("replaced_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_replaced_prediction"),
        sa.ForeignKeyConstraint(["capture_id"], ["capture.id"], name="fk_replaced_prediction_capture_id"),
    )
    op.create_index("ix_replaced_prediction_capture_id", "replaced_prediction", ["capture_id"])
    if op.get_bind().dialect.name == "postgresql":
        for statement in POSTGRESQL_TRIGGERS:
            op.execute(statement)
    else:
        for name, body in TRIGGERS.items():
            op.execute(f"CREATE TRIGGER {name} {body.strip()}")
    op.execute(f"CREATE VIEW v_classifications AS {V_CLASSIFICATIONS.strip()}")


def downgrade() -> None:
    op.execute("DROP VIEW v_classifications")
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER {name}")
    op.drop_table("replaced_prediction")
    op.drop_table("classification_status")
