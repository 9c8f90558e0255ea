"""The trace that a job and its events belong to, as W3C's `traceparent` has it: its request may be hours ago."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("jobs", "webhook_events")
FORM = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"


def upgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN traceparent text")
        # The rows that there are have none, so they need not be looked through.
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_traceparent_form CHECK (traceparent ~ '{FORM}') NOT VALID"
        )


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN traceparent")
