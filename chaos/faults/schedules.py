"""Faults while schedules fire: a thousand of them, at each minute of a fast clock."""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta
from typing import Any

from ava.domain import ids
from chaos.cluster import Cluster
from chaos.fault import Fault, Injury
from chaos.faults.processes import due_job
from chaos.load import WORKER, Accepted
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.shifted_dispatcher import VARIABLE, set_clock

#: Number of schedules, firings of each, and seconds between two; a dispatcher is killed at each firing.
_SCHEDULES, _TIMES, _TIME_SECONDS = 1_000, 6, 1.0
_MINUTE = timedelta(minutes=1)

_COPY = """
INSERT INTO schedules (tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up,
                       catch_up_seconds, spread_seconds, decided_until, next_run_at, timezone_data, created_by)
SELECT tenant_id, worker_id, cron, timezone, input, priority, overlap, catch_up, catch_up_seconds,
       spread_seconds, decided_until, next_run_at, timezone_data, created_by
FROM schedules, generate_series(2, %s)
"""
_MADE = """
SELECT f.schedule_id::text, f.at, j.id::text FROM schedule_firings AS f JOIN jobs AS j ON j.id = f.job_id
WHERE f.outcome = 'fired' AND j.scheduled_at = f.at AND j.trigger = 'scheduled'
"""


def _kill_dispatchers(cluster: Cluster) -> Injury:
    """Kill one dispatcher of three each second, while a thousand schedules fire each second."""
    file = cluster.effects_path.parent / "clock"
    first = _create(cluster)
    set_clock(file, first - _MINUTE)
    for usual in cluster.system.dispatchers:
        usual.kill()
    dispatchers = [_start_dispatcher(cluster, str(file)) for _ in range(3)]
    rng = random.Random(18)
    for number in range(_TIMES):
        set_clock(file, first + number * _MINUTE)
        time.sleep(_TIME_SECONDS * rng.random())
        since = time.monotonic()
        dispatchers.pop(rng.randrange(3)).kill()
        dispatchers.append(_start_dispatcher(cluster, str(file)))
    cluster.system.dispatchers[:] = dispatchers
    injury = due_job(cluster, since)
    _expect_jobs(cluster, {first + number * _MINUTE for number in range(_TIMES)})
    return injury


def _create(cluster: Cluster) -> datetime:
    """Create the schedules. Returns their first firing time."""
    fields: dict[str, Any] = {"worker_id": WORKER, "cron": "* * * * *", "timezone": "Europe/Berlin"}
    fields |= {"catch_up": "all", "input": {"seconds": 0.01}}
    response = cluster.system.post("/v1/ava/schedules", json=fields)
    response.raise_for_status()
    cluster.system.query(_COPY, _SCHEDULES)
    return datetime.fromisoformat(response.json()["data"]["next_run_at"])


def _start_dispatcher(cluster: Cluster, file: str) -> RunningProcess:
    return cluster.system.spawn("dispatcher", module="harness.shifted_dispatcher", environ={VARIABLE: file})


def _expect_jobs(cluster: Cluster, times: set[datetime]) -> None:
    """Count exactly one job per firing as accepted: a missing one is lost, an extra one invented."""
    wanted = _SCHEDULES * len(times)
    wait_until(
        lambda: cluster.system.query("SELECT count(*) FROM schedule_firings") >= [(wanted,)],
        seconds=60,
        what="every schedule has fired",
    )
    made: dict[tuple[str, datetime], str] = {}
    for schedule_id, at, job_uuid in cluster.system.query(_MADE):
        if at in times:
            made.setdefault((schedule_id, at), ids.encode("job", job_uuid))
    jobs = [*made.values(), *(f"missing {number}" for number in range(wanted - len(made)))]
    cluster.load.accepted += [Accepted(id=job, at=time.monotonic()) for job in jobs]


FAULTS = (
    Fault(
        name="kill -9 of one of three dispatchers each second, while schedules fire",
        inject=_kill_dispatchers,
        promised_seconds=5,
        runs_alone=True,
    ),
)
