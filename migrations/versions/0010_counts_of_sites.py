"""Captures whose site changes (`manifest --update`) are counted where they are; on SQLite they were not.

What was miscounted is counted anew.

Revision: 0010, after 0009.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEYS = ("season_id", "batch_id", "site", "state", "kept_off", "in_doubt")
COLUMNS = ", ".join(KEYS)


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


MOVED = f"({', '.join(cell('NEW'))}) IS NOT ({', '.join(cell('OLD'))})"
ONE_MORE = (
    f"INSERT INTO state_count ({COLUMNS}, captures) VALUES ({', '.join(cell('NEW'))}, 1)"
    f" ON CONFLICT ({COLUMNS}) DO UPDATE SET captures = captures + 1"
)
ONE_LESS = "UPDATE state_count SET captures = captures - 1 WHERE " + " AND ".join(
    f"{name} = {value}" for name, value in zip(KEYS, cell("OLD"), strict=True)
)
TRIGGER = (
    "CREATE TRIGGER capture_counted_anew"
    " AFTER UPDATE OF season_id, site, state, batch_id, excluded, subject_id, ambiguous_at ON capture"
    f" WHEN NOT EXISTS (SELECT 1 FROM meta WHERE name = 'counts_rest') AND {MOVED}"
    f" BEGIN {ONE_LESS}; {ONE_MORE}; END"
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":  # there the trigger is of every column
        return
    for statement in (
        "DROP TRIGGER capture_counted_anew",
        TRIGGER,
        "DELETE FROM state_count",
        f"INSERT INTO state_count ({COLUMNS}, captures) SELECT {', '.join(cell('c'))}, count(*) FROM capture c"
        " GROUP BY 1, 2, 3, 4, 5, 6",
    ):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("put the backup copy back that was made beside the ledger")
