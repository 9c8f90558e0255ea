"""API keys: tokens that stand for a tenant and a role."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

oldest_code = "0021"

# A revoked key has no row, so that it is as unknown as any other token.
KEYS = """
CREATE TABLE api_keys (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    tenant_id text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    -- SHA-256 of the token.
    hash bytea NOT NULL UNIQUE,
    prefix text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz
) WITH (fillfactor = 85)
"""


def upgrade() -> None:
    op.execute(KEYS)
    op.execute("CREATE INDEX api_keys_listed ON api_keys (tenant_id, id)")


def downgrade() -> None:
    op.execute("DROP TABLE api_keys")
