"""The audit trail by action."""

from ava.store.migrations.online import create_index, drop_index

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

oldest_code = "0013"


def upgrade() -> None:
    create_index("audit_by_action", "ON audit (tenant_id, action, id)")


def downgrade() -> None:
    drop_index("audit_by_action")
