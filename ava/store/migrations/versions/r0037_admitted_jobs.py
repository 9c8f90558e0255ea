"""Jobs that hold a place of their limit, by its key."""

from ava.store.migrations import online

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

oldest_code = "0036"


def upgrade() -> None:
    definition = """ON jobs (limit_key, status, priority, id)
        WHERE limit_key IS NOT NULL AND (status = 'running' OR status = 'queued' AND run_at IS NULL)"""
    online.create_index("jobs_admitted", definition)


def downgrade() -> None:
    online.drop_index("jobs_admitted")
