"""Predictions for reports, where captures come from, what old scripts claim, and images withheld on purpose.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.String(27)

# Plain ADD COLUMN: rebuilding a table would drop the triggers that guard it.
COLUMNS = [
    ("capture", "rule TEXT"),
    ("capture", "position INTEGER"),
    ("capture", "metadata_pending VARCHAR(27)"),
    ("image", "covered_problem VARCHAR(16)"),
    ("image", "covered_reason TEXT"),
    ("prediction", "file_id INTEGER CONSTRAINT fk_prediction_file_id REFERENCES prediction_file (id)"),
    ("prediction", "machine_animal FLOAT"),
    ("prediction", "machine_person FLOAT"),
    ("prediction", "machine_vehicle FLOAT"),
    ("prediction", "machine_blank FLOAT"),
    ("prediction", "machine_species TEXT"),
    ("prediction", "machine_species_confidence FLOAT"),
]


def highest(column: str) -> str:
    """The largest confidence that any source gives."""
    return f"(SELECT max(p.{column}) FROM prediction p WHERE p.capture_id = c.id) AS {column}"


SURE_OF_SPECIES = """
(SELECT p.machine_species FROM prediction p WHERE p.capture_id = c.id AND p.machine_species IS NOT NULL
 ORDER BY p.machine_species_confidence DESC, p.id LIMIT 1) AS machine_species
"""

MORE = ",\n       ".join(
    [
        "(SELECT count(*) FROM prediction p WHERE p.capture_id = c.id) AS predictions",
        highest("machine_animal"),
        highest("machine_person"),
        highest("machine_vehicle"),
        highest("machine_blank"),
        SURE_OF_SPECIES.strip(),
        highest("machine_species_confidence"),
        "c.rule",
        "c.metadata_pending",
    ]
)

V_CAPTURES = f"""
SELECT c.capture_id, s.name AS season, c.season AS capture_season, c.site, c.roll, c.capture,
       c.state, b.name AS batch, c.subject_id, b.project_id, b.subject_set_id, b.subject_set_name,
       (SELECT count(*) FROM image i WHERE i.capture_id = c.id AND i.problem IS NULL) AS images,
       (SELECT count(*) FROM image i WHERE i.capture_id = c.id AND i.problem IS NOT NULL) AS images_left_out,
       c.excluded, c.reason, c.moved_at, c.run_id, c.ambiguous_at, c.metadata,
       {MORE}
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
"""


# As `ctstate/ledger/postgres_types.py` names the types of the columns that Core describes.
ON_POSTGRESQL = {
    "TEXT": 'TEXT COLLATE "C"',
    "VARCHAR(27)": 'TEXT COLLATE "C"',
    "VARCHAR(16)": 'TEXT COLLATE "C"',
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE PRECISION",
}


def on_postgresql(column: str) -> str:
    """A column of `COLUMNS`."""
    name, kind, *more = column.split(" ", 2)
    return " ".join([name, ON_POSTGRESQL[kind], *more])


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "prediction_file",
        sa.Column("id", KEY, nullable=False),
        sa.Column("season_id", KEY),
        sa.Column("batch", sa.String(120)),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("format", sa.String(40), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Float()),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("run_id", KEY),
        sa.Column("made_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prediction_file"),
        sa.ForeignKeyConstraint(["season_id"], ["season.id"], name="fk_prediction_file_season_id"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_prediction_file_run_id"),
    )
    op.create_table(
        "legacy_subject",
        sa.Column("id", KEY, nullable=False),
        sa.Column("capture_id", KEY, nullable=False),
        sa.Column("subject_id", KEY),
        sa.Column("subject_set_id", KEY),
        sa.Column("subject_set_name", sa.Text()),
        sa.Column("upload_time", sa.String(40)),
        sa.Column("source_file", sa.Text(), nullable=False),
        sa.Column("run_id", KEY),
        sa.Column("imported_at", TIME, nullable=False),
        sa.Column("checked_at", TIME),
        sa.Column("outcome", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_legacy_subject"),
        sa.ForeignKeyConstraint(["capture_id"], ["capture.id"], name="fk_legacy_subject_capture_id"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_legacy_subject_run_id"),
        sa.UniqueConstraint("capture_id", "subject_id", name="uq_legacy_subject_capture_id_subject_id"),
    )
    for table, column in COLUMNS:
        op.execute(f"ALTER TABLE {table} ADD COLUMN {on_postgresql(column) if postgresql else column}")
    op.execute("DROP VIEW v_captures")
    view = V_CAPTURES.strip()
    if postgresql:  # where no value would else be the highest
        view = view.replace("machine_species_confidence DESC,", "machine_species_confidence DESC NULLS LAST,")
    op.execute(f"CREATE VIEW v_captures AS {view}")


def downgrade() -> None:
    raise NotImplementedError(
        "SQLite before 3.35 cannot drop columns: restore the backup copy that was made before the upgrade"
    )
