"""Measure the use of a limit and of a rate.

`make chaos` kills processes under a limit, and in a paused queue.
"""

from __future__ import annotations

import os
import signal
import time
from bisect import bisect_left

from ava.domain.jobs.job import JobSpec
from bench.fairness import caller, running
from bench.servers import processes, until
from bench.systems import Ours
from bench.table import Figures

_NAP_SECONDS = 0.05
_LIMIT = 5
_DISPATCHER = ["ava.cli.main", "dispatcher"]
_TENANT = "ten_a"


def limit(system: Ours, *, seconds: float) -> Figures:
    """Measure the use of a limit of 5 by jobs of 50 ms on eight processes."""
    system.clear()
    nap = f'{{"seconds":{_NAP_SECONDS}}}'
    system.fill(round(2 * seconds * _LIMIT / _NAP_SECONDS), handler="limited", input_json=nap)
    with running(system, 8):
        until(lambda: system.finished() > 20)
        began = system.database.value("SELECT extract(epoch FROM now())::float8")
        time.sleep(seconds)
        assert system.database.value("SELECT count(*) FROM jobs WHERE status = 'queued'") > 0
    ran, ended = system.database.rows(
        "SELECT sum(extract(epoch FROM least(coalesce(completed_at, 'infinity'), to_timestamp(%s))"
        " - greatest(started_at, to_timestamp(%s))))::float8, count(completed_at)"
        " FROM jobs WHERE started_at < to_timestamp(%s) AND coalesce(completed_at, 'infinity') > to_timestamp(%s)",
        began + seconds,
        began,
        began + seconds,
        began,
    )[0]
    return {
        "share of the limit used": ran / seconds / _LIMIT,
        "share in handlers": ended * _NAP_SECONDS / seconds / _LIMIT,
        "jobs/s": ended / seconds,
    }


def rate(system: Ours, *, seconds: float) -> Figures:
    """Measure the starts per minute under a rate of 100 a minute; the active one of two dispatchers is killed."""
    system.clear()
    system.jobs.trigger(caller(_TENANT), [JobSpec(worker_id="wkr_rated", input_json="{}")] * round(seconds * 3))
    with running(system, 2) as (active, _), processes(system.folder, system.environ, _DISPATCHER):
        until(lambda: system.finished_of(_TENANT))
        time.sleep(seconds / 2)
        os.kill(active, signal.SIGKILL)
        time.sleep(seconds / 2)
    rows = system.database.rows("SELECT extract(epoch FROM started_at)::float8 FROM jobs WHERE started_at IS NOT NULL")
    starts = sorted(row[0] for row in rows)
    most = max(bisect_left(starts, start + 60) - number for number, start in enumerate(starts))
    within = bisect_left(starts, starts[0] + seconds)
    return {"most in any minute": most, "share of the rate used": within / (100 * seconds / 60), "failovers": 1}
