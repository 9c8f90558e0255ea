"""The audit trail in partitions by the day of its entries' ids."""

from ava.store.migrations import partitioned

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None

oldest_code = "0055"


def upgrade() -> None:
    partitioned.split("audit")


def downgrade() -> None:
    partitioned.join("audit")
