"""Failed jobs in any number, inserted at once."""

from __future__ import annotations

from harness.system import System

_INSERT = (
    "INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts, status,"
    " error, completed_at) SELECT 'ten_test', %s, %s, 10, 'default', json_build_object('number', n), 'usr_test', 1,"
    " 'failed', 'ValueError: no', now() FROM generate_series(1, %s) AS n"
)


def insert_failed(system: System, count: int, *, worker_id: str, trigger: str = "manual") -> None:
    """Insert failed jobs of one worker."""
    system.query(_INSERT, worker_id, trigger, count)
