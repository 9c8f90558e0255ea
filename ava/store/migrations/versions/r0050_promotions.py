"""The timelines on which the active dispatcher found PostgreSQL: each promotion of a standby begins another."""

from alembic import op

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

oldest_code = "0049"

# `running`: the runs that were under way when the dispatcher saw the timeline first, null for the first of all, which
# is no promotion. `is_lossy`: a job that the dispatcher had seen before was missing then.
PROMOTIONS = """
CREATE TABLE promotions (
    timeline integer PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now(),
    running integer,
    is_lossy boolean NOT NULL
)
"""


def upgrade() -> None:
    op.execute(PROMOTIONS)


def downgrade() -> None:
    op.execute("DROP TABLE promotions")
