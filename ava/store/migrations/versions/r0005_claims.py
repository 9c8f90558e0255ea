"""The id of a run's claim, by which a process that lost the result of its claim finds the run."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE jobs ADD COLUMN claim_id uuid")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP COLUMN claim_id")
