"""Deliveries in partitions by the day of their id."""

from ava.store.migrations import partitioned

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None

oldest_code = "0055"


def upgrade() -> None:
    partitioned.split("webhook_deliveries")


def downgrade() -> None:
    partitioned.join("webhook_deliveries")
