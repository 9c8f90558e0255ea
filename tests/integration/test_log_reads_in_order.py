"""Reads of a long log in a partition of which the planner knows nothing: they cost what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ava.domain.jobs.job import JobKey, LogLevel
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.jobs.reads import job_logs, watches
from ava.store.jobs.reads.job_logs import LogRange
from ava.store.jobs.reads.watches import LogPosition
from tests.backlog import Backlog, open_backlog

_LINES = 20_000
#: 500 lines of 1 KB are in 72 blocks.
_MAX_BLOCKS = 300
_BLOCKS = "SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class WHERE relname LIKE 'job_logs%%'"


@pytest.fixture
def backlog(database_settings: Settings) -> Iterator[Backlog]:
    with open_backlog(database_settings) as backlog:
        backlog.run("ALTER TABLE job_logs_first SET (autovacuum_enabled = off)")
        backlog.run("ALTER TABLE job_logs_rest SET (autovacuum_enabled = off)")
        yield backlog


@pytest.fixture
def jobs(backlog: Backlog) -> list[JobKey]:
    found = [job.key for job in backlog.insert(2)]
    backlog.run(
        "INSERT INTO job_logs"
        " SELECT j.tenant_id, j.id, n, ARRAY[now()], CASE WHEN n %% 2 = 0 THEN 'i' ELSE 'e' END,"
        " ARRAY[repeat('x', 1000)]"
        " FROM (SELECT tenant_id, id FROM jobs ORDER BY id LIMIT 1) AS j, generate_series(1, %(lines)s) AS n",
        lines=_LINES,
    )
    return found


def _follow(connection: Connection, jobs: list[JobKey]) -> Any:
    positions = [LogPosition(number=n, job=job, after_seq=-1) for n, job in enumerate(jobs)]
    return watches.lines_after(connection, positions)[0].lines


def _page(**wanted: Any) -> Callable[[Connection, list[JobKey]], Any]:
    return lambda connection, jobs: (
        job_logs.log_lines(
            connection, tenant_id=jobs[0].tenant_id, job_id=jobs[0].id, wanted=LogRange(limit=100, **wanted)
        ).lines
    )


_READS: dict[str, Callable[[Connection, list[JobKey]], Any]] = {
    "followers": _follow,
    "first page": _page(),
    "a page in the middle": _page(after_seq=_LINES // 2),
    "the end": _page(before_seq=_LINES + 1),
    "a level": _page(level=LogLevel.ERROR),
}


def test_a_read_of_a_long_log_reads_no_more_than_its_lines(backlog: Backlog, jobs: list[JobKey]) -> None:
    for name, read in _READS.items():
        with backlog.database.transaction() as connection:
            before = connection.exec_driver_sql(_BLOCKS).scalar_one()
            lines = read(connection, jobs)
            blocks = connection.exec_driver_sql(_BLOCKS).scalar_one() - before
        assert len(lines) >= 60, name
        assert blocks < _MAX_BLOCKS, name
