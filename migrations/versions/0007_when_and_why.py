"""When pictures were taken and where cameras stood; of which kind a failure is, and which image was to blame; how
many images of a capture go up.

Revision: 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TAKEN = sa.String(19)

# (SQLite, PostgreSQL): one way to say the same of both.
DIALECTS: dict[str, tuple[str, str]] = {
    # Nights between two days, both as text.
    "NIGHTS": (
        "CAST(julianday(substr(d.ends_at, 1, 10)) - julianday(substr(d.starts_at, 1, 10)) AS INTEGER)",
        "CAST(substr(d.ends_at, 1, 10) AS DATE) - CAST(substr(d.starts_at, 1, 10) AS DATE)",
    ),
    # Where no value would else be the highest.
    "SUREST": ("p.machine_species_confidence DESC", "p.machine_species_confidence DESC NULLS LAST"),
}


def highest(column: str) -> str:
    """The largest confidence that any source gives."""
    return f"(SELECT max(p.{column}) FROM prediction p WHERE p.capture_id = c.id) AS {column}"


FAILURE = "CASE WHEN c.state = 'failed' THEN c.reason_kind END AS reason_kind"

SUBJECT_URL = """(SELECT e.value || '/projects/' || g.value || '/talk/subjects/' || c.subject_id FROM meta e, meta g
        WHERE e.name = 'endpoint' AND g.name = 'project_slug:' || b.project_id) AS subject_url"""

VIEWS = {
    "v_captures": f"""
SELECT c.capture_id, s.name AS season, c.season AS capture_season, c.site, c.roll, c.capture,
       c.state, b.name AS batch, c.subject_id, b.project_id, b.subject_set_id, b.subject_set_name,
       (SELECT count(*) FROM image i WHERE i.capture_id = c.id AND i.problem IS NULL) AS images,
       (SELECT count(*) FROM image i WHERE i.capture_id = c.id AND i.problem IS NOT NULL) AS images_left_out,
       c.excluded, c.reason, c.moved_at, c.run_id, c.ambiguous_at, c.metadata,
       (SELECT count(*) FROM prediction p WHERE p.capture_id = c.id) AS predictions,
       {highest("machine_animal")}, {highest("machine_person")}, {highest("machine_vehicle")},
       {highest("machine_blank")},
       (SELECT p.machine_species FROM prediction p WHERE p.capture_id = c.id AND p.machine_species IS NOT NULL
        ORDER BY SUREST, p.id LIMIT 1) AS machine_species,
       {highest("machine_species_confidence")},
       c.rule, c.metadata_pending, c.taken_at, {FAILURE},
       {SUBJECT_URL}
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
""",
    "v_images": """
SELECT c.capture_id, s.name AS season, c.site, c.roll, i.rank, i.path,
       coalesce(i.problem, CASE WHEN c.state = 'failed' THEN i.failure END) AS problem,
       coalesce(i.problem_reason, CASE WHEN c.state = 'failed' THEN i.failure_reason END) AS problem_reason,
       i.md5, i.bytes, i.note, i.arrived_at, c.state, c.subject_id, i.taken_at, i.taken_text
FROM image i JOIN capture c ON c.id = i.capture_id JOIN season s ON s.id = c.season_id
""",
    # What makes a line of it long is shortened; all of it is in v_captures and v_images.
    "v_failures": f"""
SELECT s.name AS season, b.name AS batch, c.site, c.capture_id, c.subject_id,
       CASE WHEN length(c.reason) > 80 THEN substr(c.reason, 1, 77) || '...' ELSE c.reason END AS reason,
       c.moved_at, c.run_id, {FAILURE},
       (SELECT count(*) FROM event e WHERE e.capture_id = c.id AND e.target = 'failed') AS attempts
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
WHERE c.state = 'failed'
""",
    "v_events": """
SELECT c.capture_id, s.name AS season, e.at, e.source, e.target, e.run_id, r.verb, e.subject_id, e.reason, e.id,
       c.site, b.name AS batch, r.host
FROM event e JOIN capture c ON c.id = e.capture_id JOIN season s ON s.id = c.season_id
     LEFT JOIN batch b ON b.id = c.batch_id LEFT JOIN run r ON r.id = e.run_id
""",
    "v_days": """
SELECT s.name AS season, c.site, c.roll, substr(c.taken_at, 1, 10) AS day, count(*) AS captures,
       sum(CASE WHEN c.state = 'uploaded' THEN 1 ELSE 0 END) AS uploaded,
       sum(CASE WHEN c.excluded IS NOT NULL AND c.subject_id IS NULL THEN 1 ELSE 0 END) AS excluded,
       min(c.taken_at) AS first_at, max(c.taken_at) AS last_at
FROM capture c JOIN season s ON s.id = c.season_id
WHERE c.taken_at IS NOT NULL
GROUP BY s.name, c.site, c.roll, substr(c.taken_at, 1, 10)
""",
    "v_deployments": """
SELECT s.name AS season, d.site, d.roll, d.starts_at, d.ends_at, NIGHTS AS nights, d.latitude, d.longitude,
       d.camera, s.time_zone
FROM deployment d JOIN season s ON s.id = d.season_id
""",
}
NEW = ("v_days", "v_deployments")

# As `ctstate/ledger/postgres_types.py` names the types of the columns that Core describes.
ON_POSTGRESQL = {
    "INTEGER": "BIGINT",
    "TEXT": 'TEXT COLLATE "C"',
    "VARCHAR(19)": 'TEXT COLLATE "C"',
    "VARCHAR(16)": 'TEXT COLLATE "C"',
}

# Plain ADD COLUMN: rebuilding a table would drop the triggers that guard it.
COLUMNS = [
    ("season", "time_zone", "TEXT"),
    ("season", "most_images", "INTEGER"),
    ("capture", "taken_at", "VARCHAR(19)"),
    ("capture", "reason_kind", "VARCHAR(16)"),
    ("image", "taken_at", "VARCHAR(19)"),
    ("image", "taken_text", "TEXT"),
    ("image", "failure", "VARCHAR(16)"),
    ("image", "failure_reason", "TEXT"),
]


# What ledgers say already; of any other reason the kind is not known.
KINDS = """
UPDATE capture SET reason_kind = CASE
    WHEN reason LIKE '%: not a usable image (%' THEN 'image_broken'
    WHEN reason = 'no usable image' THEN 'no_image'
    WHEN reason LIKE 'encoding its images ends the process%' THEN 'encoder'
    WHEN reason LIKE '% creates in a row got no usable answer%' THEN 'no_answer'
    WHEN reason LIKE 'subject % is no longer on Zooniverse%' THEN 'subject_gone'
    END
WHERE state = 'failed'
"""


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "deployment",
        sa.Column("id", KEY, nullable=False),
        sa.Column("season_id", KEY, nullable=False),
        sa.Column("site", sa.String(255), nullable=False),
        sa.Column("roll", sa.String(80), nullable=False),
        sa.Column("starts_at", TAKEN),
        sa.Column("ends_at", TAKEN),
        sa.Column("latitude", sa.Float()),
        sa.Column("longitude", sa.Float()),
        sa.Column("camera", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_deployment"),
        sa.ForeignKeyConstraint(["season_id"], ["season.id"], name="fk_deployment_season_id"),
        sa.UniqueConstraint("season_id", "site", "roll", name="uq_deployment_season_id_site_roll"),
    )
    for table, column, kind in COLUMNS:
        kind = ON_POSTGRESQL[kind] if postgresql else kind
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    op.execute(KINDS)
    for name, query in VIEWS.items():
        for word, said in DIALECTS.items():
            query = query.replace(word, said[postgresql])
        if not postgresql and name not in NEW:
            op.execute(f"DROP VIEW {name}")
        # There, a view that is replaced keeps who may read it.
        op.execute(f"CREATE {'OR REPLACE ' * postgresql}VIEW {name} AS {query.strip()}")


def downgrade() -> None:
    raise NotImplementedError("put the backup copy back that was made beside the ledger")
