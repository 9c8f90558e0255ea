"""The failed jobs of a tenant by when they failed, for the newest failures of its overview."""

from ava.store.migrations.online import create_index, drop_index

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

oldest_code = "0028"


def upgrade() -> None:
    create_index("jobs_failed", "ON jobs (tenant_id, completed_at, id) WHERE status = 'failed'")


def downgrade() -> None:
    drop_index("jobs_failed")
