"""One unfinished job at most of a tenant, worker and key."""

from ava.store.migrations import online

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

oldest_code = "0043"


def upgrade() -> None:
    definition = """ON jobs (tenant_id, worker_id, dedupe_key)
        WHERE dedupe_key IS NOT NULL AND status IN ('queued', 'running')"""
    online.create_index("jobs_deduped", definition, is_unique=True)


def downgrade() -> None:
    online.drop_index("jobs_deduped")
