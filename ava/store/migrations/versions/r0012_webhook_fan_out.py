"""Fan-out in slices: how far the deliveries of an event are created, and the events that could not be fanned out."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

oldest_code = "0011"

# The last endpoint for which a delivery exists while others are still missing; null for nearly every event.
CURSOR = "ALTER TABLE webhook_events ADD COLUMN fanned_out_to uuid"

# A table of its own, because hardly any event is ever in it. No foreign key, as with deliveries: retention deletes it.
SET_ASIDE = """
CREATE TABLE webhook_set_aside (
    event_id uuid PRIMARY KEY,
    tenant_id text NOT NULL,
    error text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now()
)
"""


def upgrade() -> None:
    op.execute(CURSOR)
    op.execute(SET_ASIDE)


def downgrade() -> None:
    op.execute("DROP TABLE webhook_set_aside")
    op.execute("ALTER TABLE webhook_events DROP COLUMN fanned_out_to")
