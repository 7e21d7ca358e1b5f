"""The `v_` views: the documented interface for SQL, pandas, R, Datasette.

Revision: 0002, after 0001.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

VIEWS = {
    "v_captures": """
SELECT c.capture_id, s.name AS season, c.season AS capture_season, c.site, c.roll, c.capture,
       c.state, b.name AS batch, c.subject_id, b.project_id, b.subject_set_id, b.subject_set_name,
       (SELECT count(*) FROM image i WHERE i.capture_id = c.id AND i.problem IS NULL) AS images,
       (SELECT count(*) FROM image i WHERE i.capture_id = c.id AND i.problem IS NOT NULL) AS images_left_out,
       c.excluded, c.reason, c.moved_at, c.run_id, c.ambiguous_at, c.metadata
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
""",
    "v_images": """
SELECT c.capture_id, s.name AS season, c.site, c.roll, i.rank, i.path, i.problem, i.problem_reason,
       i.md5, i.bytes, i.note, i.arrived_at, c.state, c.subject_id
FROM image i JOIN capture c ON c.id = i.capture_id JOIN season s ON s.id = c.season_id
""",
    "v_progress": """
SELECT s.name AS season, b.name AS batch, c.site,
       count(*) AS captures,
       sum(CASE WHEN c.excluded IS NOT NULL AND c.subject_id IS NULL THEN 1 ELSE 0 END) AS excluded,
       sum(CASE WHEN c.excluded IS NULL AND c.state IN ('manifested', 'predicted', 'batched', 'uploading')
           THEN 1 ELSE 0 END) AS pending,
       sum(CASE WHEN c.state = 'uploaded' THEN 1 ELSE 0 END) AS uploaded,
       sum(CASE WHEN c.state = 'failed' THEN 1 ELSE 0 END) AS failed,
       sum(CASE WHEN c.state = 'removed' THEN 1 ELSE 0 END) AS removed,
       sum(CASE WHEN c.state = 'deleted' THEN 1 ELSE 0 END) AS deleted
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
GROUP BY s.name, b.name, c.site
""",
    "v_failures": """
SELECT s.name AS season, b.name AS batch, c.site, c.capture_id, c.subject_id, c.reason, c.moved_at, c.run_id
FROM capture c JOIN season s ON s.id = c.season_id LEFT JOIN batch b ON b.id = c.batch_id
WHERE c.state = 'failed'
""",
    "v_runs": """
SELECT r.id AS run_id, r.verb, r.outcome, r.started_at, r.heartbeat_at, r.ended_at, r.host, r.pid,
       r.slurm_job, r.slurm_task, r.username, r.version, r.log_file, r.arguments, r.message,
       (SELECT count(*) FROM event e WHERE e.run_id = r.id AND e.target = 'uploaded') AS uploaded,
       (SELECT count(*) FROM event e WHERE e.run_id = r.id AND e.target = 'failed') AS failed
FROM run r
""",
    "v_events": """
SELECT c.capture_id, s.name AS season, e.at, e.source, e.target, e.run_id, r.verb, e.subject_id, e.reason, e.id
FROM event e JOIN capture c ON c.id = e.capture_id JOIN season s ON s.id = c.season_id
     LEFT JOIN run r ON r.id = e.run_id
""",
}


def upgrade() -> None:
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query.strip()}")


def downgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
