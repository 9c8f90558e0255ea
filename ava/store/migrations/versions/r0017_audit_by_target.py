"""The audit trail by what was changed."""

from ava.store.migrations.online import create_index, drop_index

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

oldest_code = "0013"


def upgrade() -> None:
    create_index("audit_by_target", "ON audit (tenant_id, target, id) WHERE target IS NOT NULL")


def downgrade() -> None:
    drop_index("audit_by_target")
