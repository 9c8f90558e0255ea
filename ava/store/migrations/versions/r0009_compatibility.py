"""Which code may run on this schema, for code that is older than it (see `ava.store.migrations.compatibility`)."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

oldest_code = "0008"

COMPATIBILITY = """
CREATE TABLE schema_compatibility (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    oldest_revision text NOT NULL
)
"""


def upgrade() -> None:
    op.execute(COMPATIBILITY)


def downgrade() -> None:
    op.execute("DROP TABLE schema_compatibility")
