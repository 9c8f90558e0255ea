"""Reads of a long log in a partition of which the planner knows nothing: they cost what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ava.domain import ids
from ava.domain.job import LogLevel
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.jobs.reads import logs, watches
from ava.store.jobs.reads.logs import LogRange
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
def job_ids(backlog: Backlog) -> list[str]:
    backlog.insert(2)
    found = [ids.encode("job", row[0]) for row in backlog.run("SELECT id::text FROM jobs ORDER BY id")]
    backlog.run(
        "INSERT INTO job_logs"
        " SELECT j.id, n, now(), CASE WHEN n %% 2 = 0 THEN 'info' ELSE 'error' END, repeat('x', 1000)"
        " FROM (SELECT id FROM jobs ORDER BY id LIMIT 1) AS j, generate_series(1, %(lines)s) AS n",
        lines=_LINES,
    )
    return found


def _follow(connection: Connection, job_ids: list[str]) -> Any:
    positions = [LogPosition(number=n, job_id=job_id, after_seq=-1) for n, job_id in enumerate(job_ids)]
    return watches.lines_after(connection, positions)[0].lines


def _page(**wanted: Any) -> Callable[[Connection, list[str]], Any]:
    return lambda connection, job_ids: (
        logs.log_lines(connection, job_id=job_ids[0], wanted=LogRange(limit=100, **wanted)).lines
    )


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(_follow, id="followers"),
        pytest.param(_page(), id="first page"),
        pytest.param(_page(after_seq=_LINES // 2), id="a page in the middle"),
        pytest.param(_page(before_seq=_LINES + 1), id="the end"),
        pytest.param(_page(level=LogLevel.ERROR), id="a level"),
    ],
)
def test_a_read_of_a_long_log_reads_no_more_than_its_lines(
    backlog: Backlog, job_ids: list[str], read: Callable[[Connection, list[str]], Any]
) -> None:
    with backlog.database.transaction() as connection:
        before = connection.exec_driver_sql(_BLOCKS).scalar_one()
        lines = read(connection, job_ids)
        blocks = connection.exec_driver_sql(_BLOCKS).scalar_one() - before
    assert len(lines) >= 60
    assert blocks < _MAX_BLOCKS
