"""Where in an image a detector saw something; until now `predict` kept what it says of the capture, and no box.

Older ledgers have none: `predict` with the same files again adds them.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

VIEW = """
CREATE VIEW v_boxes AS
SELECT c.capture_id, s.name AS season, c.site, i.rank, i.path, x.source, x.boxes
FROM image_boxes x JOIN image i ON i.id = x.image_id JOIN capture c ON c.id = i.capture_id
     JOIN season s ON s.id = c.season_id
"""


def upgrade() -> None:
    op.create_table(
        "image_boxes",
        sa.Column("image_id", KEY, nullable=False, autoincrement=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("boxes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", "source", name="pk_image_boxes"),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_image_boxes_image_id"),
        sqlite_with_rowid=False,
    )
    op.execute(VIEW.strip())


def downgrade() -> None:
    raise NotImplementedError("put the backup copy back that was made beside the ledger")
