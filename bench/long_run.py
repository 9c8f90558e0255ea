"""Drain hundreds of thousands of jobs without a pause: are the last ones as fast as the first?"""

from __future__ import annotations

from bench.servers import Database, processes, until
from bench.systems import Ours
from bench.table import Figures

_RATES = """
SELECT count(*) / extract(epoch FROM max(completed_at) - min(completed_at))
FROM (SELECT completed_at, ntile(10) OVER (ORDER BY completed_at) AS tenth FROM jobs) AS finished
GROUP BY tenth ORDER BY tenth
"""


_HORIZON = "SELECT clock_timestamp() - interval '1 second'"
_FINISHED = "SELECT count(*) FROM jobs WHERE completed_at > %s AND completed_at <= %s"


class _Count:
    """The number of finished jobs; each call counts only those since the previous call."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._horizon = database.value(_HORIZON)
        self._done = 0

    def __call__(self) -> int:
        # Jobs that ended a second ago are committed by now.
        horizon = self._database.value(_HORIZON)
        self._done += self._database.value(_FINISHED, self._horizon, horizon)
        self._horizon = horizon
        return self._done


def long_run(system: Ours, *, jobs: int) -> Figures:
    """Drain `jobs` jobs, with a permanent backlog. Returns the rates of the first and the last tenth.

    Nothing is triggered during these two. The times are those of the records.
    """
    system.clear()
    part = jobs // 10
    # The dispatcher runs from the beginning, so that the first jobs come from the backlog like the last ones.
    with processes(system.folder, system.environ, ["ava.cli.main", "dispatcher"]):
        system.fill(2 * part)
    count = _Count(system.database)
    with system.workers():
        for number in range(10):
            until(lambda number=number: count() >= (number + 1) * part, seconds=1800, every=2)
            print(f"    {(number + 1) * part:,} jobs", flush=True)
            if number < 8:
                system.fill(part)
    rates = [float(rate) for (rate,) in system.database.rows(_RATES)]
    print("    jobs/s of each tenth:", ", ".join(f"{rate:,.0f}" for rate in rates), flush=True)
    return {"first tenth, jobs/s": rates[0], "last tenth, jobs/s": rates[-1], "last of first": rates[-1] / rates[0]}
