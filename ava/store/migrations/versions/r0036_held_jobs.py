"""Jobs that wait for a place of their limit, by its key, priority and tenant."""

from ava.store.migrations import online

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

oldest_code = "0035"


def upgrade() -> None:
    definition = """ON jobs (limit_key, priority, tenant_id, id)
        WHERE status = 'queued' AND run_at = 'infinity' AND limit_key IS NOT NULL"""
    online.create_index("jobs_held", definition)


def downgrade() -> None:
    online.drop_index("jobs_held")
