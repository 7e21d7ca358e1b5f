"""What pictures need: counts that are kept instead of counted, and the history of what was looked at.

Until now `classification_status` was overwritten, `verify` left no row, `run` said nothing of its requests, and to
count a season meant to read it. `state_count` and `hour_count` are kept by triggers; a transaction that moves a
whole season lets the first one rest and counts once, at its end (`ctstate/ledger/counts.py`).

Revision: 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.String(27)

KEYS = ("season_id", "batch_id", "site", "state", "kept_off", "in_doubt")
"""What a row of `state_count` is of."""


def cell(row: str) -> list[str]:
    """Where a capture is counted, in the order of KEYS."""
    there = f"{row}.subject_id IS NOT NULL"
    return [
        f"{row}.season_id",
        f"coalesce({row}.batch_id, 0)",
        f"{row}.site",
        f"{row}.state",
        f"CASE WHEN {row}.excluded IS NULL THEN 0 WHEN {there} THEN 2 ELSE 1 END",
        f"CASE WHEN {row}.ambiguous_at IS NULL THEN 0 ELSE 1 END",
    ]


COLUMNS = ", ".join(KEYS)
RESTING = "EXISTS (SELECT 1 FROM meta WHERE name = 'counts_rest')"
MOVED = f"({', '.join(cell('NEW'))}) IS NOT ({', '.join(cell('OLD'))})"
HERE = f"INSERT INTO state_count ({COLUMNS}, captures) VALUES ({', '.join(cell('NEW'))}, 1)"
ONE_MORE = f"{HERE} ON CONFLICT ({COLUMNS}) DO UPDATE SET captures = captures + 1"
ONE_LESS = "UPDATE state_count SET captures = captures - 1 WHERE " + " AND ".join(
    f"{name} = {value}" for name, value in zip(KEYS, cell("OLD"), strict=True)
)
HOUR = "substr(NEW.at, 1, 13)"
OF_EVENT = "(SELECT season_id FROM capture WHERE id = NEW.capture_id)"
COUNTED_MOVES = "NEW.target IN ('uploaded', 'failed')"
ADD_TO_HOUR = (
    f"INSERT INTO hour_count (season_id, hour, state, captures) VALUES ({OF_EVENT}, {HOUR}, NEW.target, 1)"
    " ON CONFLICT (season_id, hour, state) DO UPDATE SET captures = hour_count.captures + 1"
)

SQLITE_TRIGGERS = [
    f"CREATE TRIGGER capture_counted AFTER INSERT ON capture WHEN NOT {RESTING} BEGIN {ONE_MORE}; END",
    "CREATE TRIGGER capture_counted_anew"
    " AFTER UPDATE OF season_id, site, state, batch_id, excluded, subject_id, ambiguous_at ON capture"
    f" WHEN NOT {RESTING} AND {MOVED} BEGIN {ONE_LESS}; {ONE_MORE}; END",
    f"CREATE TRIGGER event_counted AFTER INSERT ON event WHEN {COUNTED_MOVES} BEGIN {ADD_TO_HOUR}; END",
]


def _add_up(rows: str) -> str:
    """Count rows that `rows` selects, each with `captures` 1 or -1: once a statement, not once a row."""
    return f"""
IF NOT {RESTING} THEN
    INSERT INTO state_count ({COLUMNS}, captures)
    SELECT {COLUMNS}, sum(captures) FROM ({rows}) AS moved GROUP BY {COLUMNS} HAVING sum(captures) <> 0
    ON CONFLICT ({COLUMNS}) DO UPDATE SET captures = state_count.captures + excluded.captures;
END IF;
RETURN NULL;
"""


def _counting(row: str, captures: int) -> str:
    # Not called `new` or `old`: PL/pgSQL has records of these names.
    named = ", ".join(f"{value} AS {name}" for name, value in zip(KEYS, cell(f"{row}_row"), strict=True))
    return f"SELECT {named}, {captures} AS captures FROM {row}_rows {row}_row"


def _function(name: str, body: str) -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body.strip()} END $$"


POSTGRESQL_TRIGGERS = [
    _function("ctstate_capture_counted", _add_up(_counting("new", 1))),
    "CREATE TRIGGER capture_counted AFTER INSERT ON capture REFERENCING NEW TABLE AS new_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION ctstate_capture_counted()",
    _function("ctstate_capture_counted_anew", _add_up(f"{_counting('old', -1)} UNION ALL {_counting('new', 1)}")),
    "CREATE TRIGGER capture_counted_anew AFTER UPDATE ON capture"
    " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION ctstate_capture_counted_anew()",
    _function("ctstate_event_counted", f"{ADD_TO_HOUR}; RETURN NULL;"),
    f"CREATE TRIGGER event_counted AFTER INSERT ON event FOR EACH ROW WHEN ({COUNTED_MOVES})"
    " EXECUTE FUNCTION ctstate_event_counted()",
]

FILL = [
    f"INSERT INTO state_count ({COLUMNS}, captures) SELECT {', '.join(cell('c'))}, count(*) FROM capture c"
    " GROUP BY 1, 2, 3, 4, 5, 6",
    "INSERT INTO hour_count (season_id, hour, state, captures)"
    " SELECT c.season_id, substr(e.at, 1, 13), e.target, count(*)"
    " FROM event e JOIN capture c ON c.id = e.capture_id WHERE e.target IN ('uploaded', 'failed') GROUP BY 1, 2, 3",
]


def total(which: str) -> str:
    """How many captures of `state_count` n meet a condition."""
    return f"CAST(sum(CASE WHEN {which} THEN n.captures ELSE 0 END) AS INT8)"


FIGURES = f"""CAST(sum(n.captures) AS INT8) AS captures,
       {total("n.kept_off = 1")} AS excluded,
       {total("n.kept_off = 0 AND n.state IN ('manifested', 'predicted', 'batched', 'uploading')")} AS pending,
       {total("n.state = 'uploaded'")} AS uploaded,
       {total("n.state = 'failed'")} AS failed,
       {total("n.state = 'removed'")} AS removed,
       {total("n.state = 'deleted'")} AS deleted"""

VIEWS = {
    "v_progress": f"""
SELECT s.name AS season, b.name AS batch, n.site,
       {FIGURES}
FROM state_count n JOIN season s ON s.id = n.season_id LEFT JOIN batch b ON b.id = n.batch_id
GROUP BY s.name, b.name, n.site HAVING sum(n.captures) > 0
""",
    "v_sites": f"""
SELECT s.name AS season, n.site,
       {FIGURES},
       {total("n.in_doubt = 1")} AS in_doubt
FROM state_count n JOIN season s ON s.id = n.season_id
GROUP BY s.name, n.site HAVING sum(n.captures) > 0
""",
    "v_hourly": """
SELECT s.name AS season, h.hour || ':00:00Z' AS hour,
       CAST(sum(CASE WHEN h.state = 'uploaded' THEN h.captures ELSE 0 END) AS INT8) AS uploaded,
       CAST(sum(CASE WHEN h.state = 'failed' THEN h.captures ELSE 0 END) AS INT8) AS failed
FROM hour_count h JOIN season s ON s.id = h.season_id
GROUP BY s.name, h.hour
""",
    "v_verifications": """
SELECT v.run_id, r.verb, s.name AS season, v.batch, v.project_id, v.began_at, v.ended_at, v.part,
       v.captures, v.subjects, v.images_asked, v.findings, v.found, r.host
FROM verification v JOIN run r ON r.id = v.run_id JOIN season s ON s.id = v.season_id
""",
    "v_polls": """
SELECT p.run_id, s.name AS season, b.name AS batch, p.workflow_id, p.workflow, p.polled_at, p.subjects,
       p.classified, p.classifications, p.retired
FROM classification_poll p JOIN batch b ON b.id = p.batch_id JOIN season s ON s.id = b.season_id
""",
    "v_run_figures": """
SELECT f.run_id, r.verb, r.host, f.name, f.value
FROM run_figure f JOIN run r ON r.id = f.run_id
""",
    "v_backups": """
SELECT k.run_id, r.verb, r.host, k.made_at, k.path, k.bytes, k.captures, k.note
FROM backup k JOIN run r ON r.id = k.run_id
""",
}
CHANGED = ("v_progress",)


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "state_count",
        sa.Column("season_id", KEY, nullable=False),
        sa.Column("batch_id", KEY, nullable=False),
        sa.Column("site", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("kept_off", sa.Integer(), nullable=False),
        sa.Column("in_doubt", sa.Integer(), nullable=False),
        sa.Column("captures", KEY, nullable=False),
        sa.PrimaryKeyConstraint(*KEYS, name="pk_state_count"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "hour_count",
        sa.Column("season_id", KEY, nullable=False),
        sa.Column("hour", sa.String(13), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("captures", KEY, nullable=False),
        sa.PrimaryKeyConstraint("season_id", "hour", "state", name="pk_hour_count"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_figure",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", name="pk_run_figure"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_figure_run_id"),
    )
    op.create_table(
        "verification",
        sa.Column("run_id", KEY, nullable=False, autoincrement=False),
        sa.Column("season_id", KEY, nullable=False),
        sa.Column("batch", sa.String(120)),
        sa.Column("project_id", KEY, nullable=False),
        sa.Column("began_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=False),
        sa.Column("part", sa.String(40)),
        sa.Column("captures", KEY, nullable=False),
        sa.Column("subjects", KEY, nullable=False),
        sa.Column("images_asked", KEY, nullable=False),
        sa.Column("findings", KEY, nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_verification"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_verification_run_id"),
        sa.ForeignKeyConstraint(["season_id"], ["season.id"], name="fk_verification_season_id"),
    )
    op.create_table(
        "classification_poll",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("batch_id", KEY, nullable=False),
        sa.Column("workflow_id", KEY, nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("polled_at", TIME, nullable=False),
        sa.Column("subjects", KEY, nullable=False),
        sa.Column("classified", KEY, nullable=False),
        sa.Column("classifications", KEY, nullable=False),
        sa.Column("retired", KEY, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "batch_id", "workflow_id", name="pk_classification_poll"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_classification_poll_run_id"),
    )
    op.create_table(
        "backup",
        sa.Column("run_id", KEY, nullable=False, autoincrement=False),
        sa.Column("made_at", TIME, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("bytes", KEY, nullable=False),
        sa.Column("captures", KEY, nullable=False),
        sa.Column("note", sa.Text()),
        sa.PrimaryKeyConstraint("run_id", name="pk_backup"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_backup_run_id"),
    )
    for statement in [*FILL, *(POSTGRESQL_TRIGGERS if postgresql else SQLITE_TRIGGERS)]:
        op.execute(statement)
    for name, query in VIEWS.items():
        if not postgresql and name in CHANGED:
            op.execute(f"DROP VIEW {name}")
        op.execute(f"CREATE {'OR REPLACE ' * postgresql}VIEW {name} AS {query.strip()}")


def downgrade() -> None:
    raise NotImplementedError("put the backup copy back that was made beside the ledger")
