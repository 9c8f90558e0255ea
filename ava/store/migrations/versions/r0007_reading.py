"""An index of the few log lines that are not `info`, so that a search for them does not read the many others."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX job_logs_not_info ON job_logs (job_id, level, seq) WHERE level <> 'info'")


def downgrade() -> None:
    op.execute("DROP INDEX job_logs_not_info")
