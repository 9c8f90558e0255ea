"""Limits of workers: the key of a job's limit, the state of rates, and a notice when a place is free."""

from alembic import op

from ava.store.migrations import sql_files

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

oldest_code = "0034"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE rate_states (
            key text PRIMARY KEY,
            next_at timestamptz NOT NULL
        ) WITH (fillfactor = 50)
    """)
    for name in ("0035_limit_key", "0035_notify_limits", "0035_notify_limits_triggers"):
        op.execute(sql_files.read(name))


def downgrade() -> None:
    op.execute("DROP TRIGGER notify_limit_of_new ON jobs")
    op.execute("DROP TRIGGER notify_limit_of_move ON jobs")
    op.execute("DROP FUNCTION ava_notify_limit()")
    op.execute("DROP FUNCTION ava_limit_key(text, text, text, json)")
    op.execute("DROP TABLE rate_states")
    # The release before knows no limits: its jobs must not wait for one.
    op.execute(
        "UPDATE jobs SET run_at = now() WHERE status = 'queued' AND run_at = 'infinity' AND limit_key IS NOT NULL"
    )
