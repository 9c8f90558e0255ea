"""What is at a place in a job's input, as the text that a search compares."""

from alembic import op

from ava.store.migrations import sql_files

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

oldest_code = "0040"


def upgrade() -> None:
    op.execute(sql_files.read("0041_input_text"))


def downgrade() -> None:
    op.execute("DROP FUNCTION ava_input_text(json, text[])")
