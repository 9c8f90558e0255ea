"""Deliveries by the type of their event."""

from ava.store.migrations.online import create_index, drop_index

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

oldest_code = "0013"


def upgrade() -> None:
    create_index("webhook_deliveries_by_type", "ON webhook_deliveries (endpoint_id, status, event_type, id)")


def downgrade() -> None:
    drop_index("webhook_deliveries_by_type")
