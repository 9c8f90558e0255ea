"""Sessions of the dashboard, and the links that start them."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

oldest_code = "0022"

# A session that was ended, and a link that was used, has no row. The sessions of an API key end with it.
SESSIONS = """
CREATE TABLE sessions (
    id uuid PRIMARY KEY DEFAULT ava_uuid7(),
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    role text NOT NULL,
    key_id uuid REFERENCES api_keys ON DELETE CASCADE,
    is_link boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
)
"""


def upgrade() -> None:
    op.execute(SESSIONS)
    op.execute("CREATE INDEX sessions_of_user ON sessions (tenant_id, user_id)")
    op.execute("CREATE INDEX sessions_of_key ON sessions (key_id) WHERE key_id IS NOT NULL")
    op.execute("CREATE INDEX sessions_by_end ON sessions (expires_at)")


def downgrade() -> None:
    op.execute("DROP TABLE sessions")
