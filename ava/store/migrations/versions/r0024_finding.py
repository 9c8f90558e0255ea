"""What lists and searches need of a job: its tags, and the bytes of an input or output that lists leave out."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

oldest_code = "0023"


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN tags json, ADD COLUMN input_bytes integer, ADD COLUMN output_bytes integer")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP COLUMN tags, DROP COLUMN input_bytes, DROP COLUMN output_bytes")
