"""Webhook events in partitions by the day of their id."""

from ava.store.migrations import partitioned

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None

oldest_code = "0055"


def upgrade() -> None:
    partitioned.split("webhook_events", "webhook_events_traceparent_form")


def downgrade() -> None:
    partitioned.join("webhook_events")
