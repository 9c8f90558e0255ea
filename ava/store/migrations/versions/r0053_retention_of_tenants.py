"""The days that final jobs of a tenant are kept, where an operator has set them."""

from alembic import op

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None

oldest_code = "0052"


def upgrade() -> None:
    op.execute("ALTER TABLE tenant_limits ADD COLUMN retention_days double precision CHECK (retention_days > 0)")


def downgrade() -> None:
    op.execute("ALTER TABLE tenant_limits DROP COLUMN retention_days")
