"""The unpublished backlog by tenants: jobs that the API publishes never enter this index."""

from ava.store.migrations import online

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

oldest_code = "0033"


def upgrade() -> None:
    definition = """ON jobs (queue, priority, tenant_id, (limit_key IS NULL), id)
        WHERE status = 'queued' AND run_at IS NULL AND published_at IS NULL"""
    online.create_index("jobs_backlog", definition)


def downgrade() -> None:
    online.drop_index("jobs_backlog")
