"""The counts of a tenant's workers by day in an index, because the rows between them are by hour and trigger."""

from ava.store.migrations import online

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

oldest_code = "0046"


def upgrade() -> None:
    definition = """ON job_counts (tenant_id, worker_id, starts_at)
        INCLUDE (completed, failed, cancelled, ran, ran_ms) WHERE span = 'day' AND trigger = ''"""
    online.create_index("job_counts_days", definition)


def downgrade() -> None:
    online.drop_index("job_counts_days")
