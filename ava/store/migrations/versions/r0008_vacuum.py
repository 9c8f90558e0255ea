"""Vacuum of the growing tables when a twentieth of their rows are dead, instead of a fifth.

Of ten million jobs a fifth are two million rows, and until then index-only scans of lists read the table as well. Log
lines are only inserted; for them, the same share of new rows starts a vacuum, which marks them as visible to all.
Smaller tables are vacuumed as before, at most once in PostgreSQL's `autovacuum_naptime`.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_CHANGED = ("jobs", "webhook_events", "webhook_deliveries", "job_logs")
_SETTINGS = {
    "autovacuum_vacuum_scale_factor": 0.05,
    "autovacuum_vacuum_threshold": 1_000,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
    "autovacuum_vacuum_insert_threshold": 10_000,
}


def upgrade() -> None:
    settings = ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items())
    for table in _CHANGED:
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    for table in _CHANGED:
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(_SETTINGS)})")
