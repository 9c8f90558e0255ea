"""What each tenant stores, as it was measured last."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

oldest_code = "0026"

TENANT_STORAGE = """
CREATE TABLE tenant_storage (
    tenant_id text PRIMARY KEY,
    stored_bytes bigint NOT NULL CHECK (stored_bytes >= 0),
    measured_at timestamptz NOT NULL DEFAULT now()
)
"""


def upgrade() -> None:
    op.execute(TENANT_STORAGE)


def downgrade() -> None:
    op.execute("DROP TABLE tenant_storage")
