"""Statements that move many jobs at once find each by its primary key, whatever the planner knows of the table.

Nearly all jobs had ended when PostgreSQL last looked, so it takes those that wait for none at all, and compares each
one with each other. A backlog of 10,000 then takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ava.settings import Settings
from ava.store.engine.statement import Statement
from ava.store.jobs.feed import polls
from ava.store.jobs.transitions import permits, publish
from tests.backlog import NODE, WORKER, Backlog, open_backlog

_JOBS = 1000
_MOVED = 100


@pytest.fixture
def backlog(database_settings: Settings) -> Iterator[Backlog]:
    """A backlog that came after PostgreSQL had looked at a table of ended jobs."""
    with open_backlog(database_settings) as backlog:
        backlog.insert(_JOBS)
        with backlog.database.connect() as connection:
            for statement in (
                "ALTER TABLE jobs SET (autovacuum_enabled = false)",
                "UPDATE jobs SET status = 'completed', published_at = now(), started_at = now(), completed_at = now()",
                "ANALYZE jobs",
                "TRUNCATE jobs",
            ):
                connection.exec_driver_sql(statement)
        backlog.insert(_JOBS)
        yield backlog


def _compared(backlog: Backlog, statement: Statement, parameters: Mapping[str, Any]) -> int:
    """Returns how many pairs of rows a statement compares in vain."""
    with backlog.database.transaction() as connection:
        *_, plans = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).one()
    found = plans if isinstance(plans, list) else json.loads(plans)
    return sum(map(_of_plan, (each["Plan"] for each in found)))


def _of_plan(plan: Mapping[str, Any]) -> int:
    own = round(plan.get("Rows Removed by Join Filter", 0) * plan["Actual Loops"])
    return own + sum(map(_of_plan, plan.get("Plans", ())))


@pytest.mark.parametrize("transition", ["publish", "admit", "follow"])
def test_changed_jobs_are_not_compared_with_all_that_wait(backlog: Backlog, transition: str) -> None:
    with backlog.database.connect() as connection:
        if transition == "admit":
            connection.exec_driver_sql("UPDATE jobs SET waits_for = 'permit', limit_key = worker_id")
        found = connection.exec_driver_sql("SELECT tenant_id, id::text FROM jobs ORDER BY id LIMIT %s", (_MOVED,))
        tenants, uuids = map(list, zip(*found.all(), strict=True))
    chosen = {"tenants": tenants, "ids": uuids}
    statement, parameters = {
        "publish": (publish._PUBLISH, chosen),
        "admit": (permits._ADMIT.statement, chosen | {"published": [True] * _MOVED}),
        "follow": (permits._FOLLOW_LIMITS, {"workers": [WORKER], "limit": _JOBS}),
    }[transition]
    assert _compared(backlog, statement, parameters) <= _JOBS


def _scans(plan: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the name of the index, or of the table, and the rows of each scan of jobs."""
    if plan.get("Relation Name") == "jobs" and plan["Node Type"] != "ModifyTable":
        yield plan.get("Index Name", "jobs"), plan["Actual Rows"] * plan["Actual Loops"]
    for part in plan.get("Plans", ()):
        yield from _scans(part)


def test_a_deferred_rate_reads_the_permits_of_its_worker_and_no_other_startable_job(backlog: Backlog) -> None:
    (running, *others) = backlog.run("SELECT tenant_id, id::text FROM jobs ORDER BY id LIMIT 21")
    admitted = [id_ for _, id_ in others]
    # The limit is finer than the rate. Half of the jobs have the rate of another worker, whose id begins alike.
    backlog.run(
        "UPDATE jobs SET limit_key = rate || ' ' || tenant_id || ' ' || n, rate_key = rate FROM ("
        " SELECT id, n, CASE WHEN n %% 2 = 0 THEN worker_id ELSE worker_id || '_2' END AS rate"
        " FROM jobs JOIN unnest(%(ids)s::uuid[]) WITH ORDINALITY AS a (id, n) USING (id)) AS k WHERE jobs.id = k.id",
        ids=admitted,
    )
    backlog.run(
        "UPDATE jobs SET limit_key = worker_id || ' ' || tenant_id || ' 0', rate_key = worker_id, status = 'running',"
        " started_at = now(), node_id = %(node)s::uuid, run_no = 1 WHERE id = %(id)s::uuid",
        node=NODE,
        id=running[1],
    )
    parameters = {"tenant_id": running[0], "id": running[1], "run_no": 1, "claim_id": None, "seconds": 60}
    with backlog.database.transaction() as connection:
        permits.lock(connection)
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {permits._DEFER_RATE.statement}"
        (plan,) = connection.exec_driver_sql(explained, parameters).scalar_one()
    assert ("jobs_admitted", 10) in list(_scans(plan["Plan"]))
    assert {index for index, _ in _scans(plan["Plan"])} <= {"jobs_admitted", "jobs_pkey", "jobs_by_id"}
    assert backlog.count("waits_for = 'permit'") == 10


@pytest.mark.needs_session(because="statements are prepared in a session of their own only")
def test_the_plan_of_a_poll_is_reused(backlog: Backlog) -> None:
    at = {"count_up_to": 10, "dead_after_seconds": 14}
    with backlog.database.connect() as connection:
        for _ in range(3):
            (window,) = polls.read(connection, **at).windows
            assert window.floor is not None
            known = polls.read(connection, {(window.queue, window.priority): window.floor}, **at)
            assert [each.has_backlog for each in known.windows] == [True]
        prepared = connection.exec_driver_sql("SELECT name, custom_plans FROM pg_prepared_statements").all()
    assert ("ava_read_poll", 0) in {tuple(row) for row in prepared}
