"""The audit trail by user."""

from ava.store.migrations.online import create_index, drop_index

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

oldest_code = "0013"


def upgrade() -> None:
    create_index("audit_by_user", "ON audit (tenant_id, user_id, id)")


def downgrade() -> None:
    drop_index("audit_by_user")
