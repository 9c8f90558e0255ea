"""The JSON Schema of a worker's input, and its version, by which a trigger knows whether it has checked against it."""

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

oldest_code = "0038"


def upgrade() -> None:
    op.execute("ALTER TABLE workers ADD COLUMN input_schema json, ADD COLUMN input_schema_version text")
    op.execute("""
        ALTER TABLE workers ADD CONSTRAINT schema_has_its_version
        CHECK ((input_schema IS NULL) = (input_schema_version IS NULL)) NOT VALID
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE workers DROP COLUMN input_schema, DROP COLUMN input_schema_version")
