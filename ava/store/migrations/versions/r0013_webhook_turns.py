"""An index of the events that wait for the fan-out by tenant, because tenants take turns."""

from ava.store.migrations import online

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

oldest_code = "0012"


def upgrade() -> None:
    online.create_index("webhook_events_turns", "ON webhook_events (tenant_id, n) WHERE fanned_out_at IS NULL")


def downgrade() -> None:
    online.drop_index("webhook_events_turns")
