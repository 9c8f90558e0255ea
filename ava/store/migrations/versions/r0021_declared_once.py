"""A worker has at most one declared schedule for a tenant."""

from ava.store.migrations import online

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

oldest_code = "0020"


def upgrade() -> None:
    definition = "ON schedules (tenant_id, worker_id) WHERE handler_module IS NOT NULL"
    online.create_index("schedules_declared_once", definition, is_unique=True)


def downgrade() -> None:
    online.drop_index("schedules_declared_once")
