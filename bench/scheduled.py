"""Jobs that become due: one by one while the node is idle, and very many in one second."""

from __future__ import annotations

import time

from bench.load import percentile
from bench.measures import drain
from bench.servers import until
from bench.systems import Ours
from bench.table import Figures

#: Seconds until the jobs are due.
_AHEAD_SECONDS = 8
_ALONE = 200

# With a distance the jobs become due one by one, with a distance of 0 simultaneously.
_DATED = """
INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts,
                  scheduled_at, waits_for, run_at)
SELECT 'ten_bench', 'wkr_noop', 'scheduled', 5, 'default', '{"a":1}', 'usr_bench', 1, t.at, 'schedule', t.at
FROM generate_series(1, %s) AS n
CROSS JOIN LATERAL (SELECT date_trunc('milliseconds', now()) + %s * interval '1 second'
                    + n * %s * interval '1 second' AS at) AS t
"""
_LATE = "SELECT extract(epoch FROM started_at - scheduled_at)::float8 * 1000 FROM jobs WHERE started_at IS NOT NULL"
_OVERDUE = "SELECT count(*) FROM jobs WHERE status = 'queued' AND run_at <= now()"


def due_in_one_second(system: Ours, *, jobs: int) -> Figures:
    """Measure the lag of jobs that become due one by one; then the rate of 100,000 that become due together."""
    alone = _alone(system)
    plain = drain(system, jobs=min(jobs, 20_000))["jobs/s"]
    system.clear()
    with system.workers():
        system.database.value(_DATED, jobs, _AHEAD_SECONDS, 0)
        system.database.value("VACUUM (ANALYZE) jobs")
        due_at = float(system.database.value("SELECT extract(epoch FROM max(scheduled_at))::float8 FROM jobs"))
        until(lambda: time.time() >= due_at, every=0.001)
        until(lambda: system.database.value(_OVERDUE) == 0, every=0.05)
        all_let_in = time.time() - due_at
        began, done = time.monotonic(), system.finished()
        until(lambda: system.finished() - done >= min(jobs // 2, 20_000), seconds=300, every=0.1)
        rate = (system.finished() - done) / (time.monotonic() - began)
        first = float(system.database.value("SELECT extract(epoch FROM min(started_at))::float8 FROM jobs")) - due_at
    return {
        "alone: p50 ms late": percentile(alone, 50),
        "alone: p99 ms late": percentile(alone, 99),
        "at once: first started ms late": first * 1000,
        "at once: all may start after s": all_let_in,
        "at once: jobs/s": rate,
        "at once: share of a plain backlog's rate": rate / plain,
    }


def _alone(system: Ours) -> list[float]:
    system.clear()
    with system.workers():
        system.database.value(_DATED, _ALONE, 2, 0.05)
        until(lambda: system.finished() >= _ALONE)
    return [row[0] for row in system.database.rows(_LATE)]
