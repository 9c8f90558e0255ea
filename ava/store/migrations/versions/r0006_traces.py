"""The trace of a job and its events, as W3C's `traceparent`, because the job may run hours after its request."""

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
        # Existing rows have none, so they need no validation.
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_traceparent_form CHECK (traceparent ~ '{FORM}') NOT VALID"
        )


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN traceparent")
