"""Retention while responses of commits are lost: exactly the old rows are deleted, and the sums are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest

from ava.dispatcher.duties import retention
from ava.dispatcher.duties.statistics import StoredBytes
from ava.dispatcher.feed.admission import Admission
from ava.dispatcher.feed.fair_queue import FairQueue
from ava.settings import Settings
from ava.store import partitions
from ava.store.engine.database import Database
from chaos.faults.lost_commits import ELSEWHERE, RETENTION
from harness.commit_cuts import CommitCuts
from tests.backlog import Backlog, open_backlog
from tests.lost_commits import cut_statements, insist, read_tables, settle, through

#: Its final jobs are retained for a day, those of the other tenant as the installation says.
_SHORT, _TENANTS = "ten_short", ("ten_short", "ten_long")
#: Ages in days: younger than any retention, older than the shorter ones, and older than all. The last rows are in the
#: first partition, the others in the default one.
_YOUNG, _MIDDLE, _OLD, _OLDEST = 0, 2, 400, 600
_AT = "(now() + interval '1 hour' - %(age)s * interval '1 day')"
#: An id as old as the row.
_ID = f"overlay(ava_first_uuid({_AT})::text PLACING '00000000000a' FROM 25)::uuid"
_ROWS = {
    "webhook_endpoints": f"(tenant_id, id, url, events, status) SELECT %(tenant)s, {_ID}, '', ARRAY['a'], 'deleted'",
    "webhook_events": f"(tenant_id, id, type, sequence) SELECT %(tenant)s, {_ID}, 'a', 1",
    "webhook_deliveries": "(tenant_id, id, endpoint_id, event_id, event_type, n)"
    f" SELECT %(tenant)s, {_ID}, {_ID}, {_ID}, 'a', 1",
    "dead_letters": f"(tenant_id, kind, row_id, error) SELECT %(tenant)s, 'webhook_event', {_ID}, ''",
    "events": f"(tenant_id, id, type, source, data, extensions) SELECT %(tenant)s, {_ID}, 'a', '/', '1', '{{}}'",
    "hook_deliveries": "(tenant_id, id, hook_id, status, response_status, address, headers, body_bytes)"
    f" SELECT %(tenant)s, {_ID}, {_ID}, 'accepted', 202, '', '{{}}', 0",
    "containments": "(tenant_id, id, scope, reason, running, triggers, state, by, lifted_at)"
    f" SELECT %(tenant)s, {_ID}, '{{}}', '', 'cancel', 'hold', 'lifted', '{{}}', {_AT}",
    "contained_stops": f"SELECT %(tenant)s, {_ID}, %(tenant)s, {_ID}",
    "audit": "(tenant_id, id, actor_id, role, action, status, address, request_id)"
    f" SELECT %(tenant)s, {_ID}, '', '', '', 200, '', ''",
}
#: Rows with the same retention in every installation, and the parts of a job.
_FURTHER_ROWS = {
    "jobs": "(tenant_id, id, worker_id, status, trigger, priority, queue, input, triggered_by, completed_at,"
    " max_attempts, tags) SELECT %(tenant)s, "
    f"{_ID}, 'wkr_test', 'completed', 'manual', 5, 'default', '{{}}', '', {_AT}, 1, '{{\"team\": \"a\"}}'",
    "job_logs": f"SELECT %(tenant)s, {_ID}, n, ARRAY[now()], 'i', ARRAY['x'] FROM generate_series(1, 3) AS n",
    "job_tags": f"SELECT %(tenant)s, 'team', 'a', {_ID}",
    "job_runs": f"SELECT %(tenant)s, {_ID}, 1, 1, now(), now(), 'waited'",
    "job_waits": f"(tenant_id, job_id, run_no, condition, waiting_for) SELECT %(tenant)s, {_ID}, 1, 'time', '{{}}'",
    "job_edges": f"SELECT %(tenant)s, {_ID}, 1, {_ID}, 1",
    "job_journal": f"(tenant_id, job_id, kind, name, attempt, state) SELECT %(tenant)s, {_ID}, 'step', 'a', 1, 'done'",
    "idempotency_keys": f"(tenant_id, key, fingerprint, created_at) SELECT %(tenant)s, %(age)s::text, '', {_AT}",
    "debounces": f"(tenant_id, worker_id, key, fires_at) SELECT %(tenant)s, '', %(age)s::text, {_AT}",
    "pulled_runs": "(tenant_id, job_id, run_no, claim_id, lookup, hash, timeout_at, grace_seconds, end_by, ended_at)"
    f" SELECT %(tenant)s, {_ID}, 1, {_ID}, %(tenant)s || %(age)s::text, '', {_AT}, 1, {_AT}, {_AT}",
    "sessions": "(tenant_id, id, user_id, role, is_link, lookup, hash, expires_at)"
    f" SELECT %(tenant)s, {_ID}, '', '', false, %(tenant)s || %(age)s::text, '', {_AT}",
    "former_keys": f"(tenant_id, id, person, revoked_at) SELECT %(tenant)s, {_ID}, 'usr_a', {_AT}",
    "oidc_used": f"SELECT convert_to(%(tenant)s || %(age)s::text, 'UTF8'), {_AT}",
    "schedule_firings": "(tenant_id, schedule_id, timezone, slot, fold, at, outcome, reason)"
    f" SELECT %(tenant)s, {_ID}, 'UTC', now(), 0, {_AT}, 'missed', ''",
    "bulk_operations": "(tenant_id, id, kind, filter, state, total, before_id, created_by, role, request_id,"
    f" completed_at) SELECT %(tenant)s, {_ID}, 'retry', '{{}}', 'done', 0, {_ID}, '', '', '', {_AT}",
    "job_counts": f"SELECT %(tenant)s, 'day', '', '', {_AT}, 1, 1, 1, 1, 1, 1, 1, 1",
    "job_time_histograms": f"SELECT %(tenant)s, '', {_AT}, 'run', '{{1}}', '{{1}}'",
    "job_minutes": f"SELECT %(tenant)s, {_AT}, '', 'completed', 1, 1, 1, 1, 1, 1, 1",
    "error_groups": "(tenant_id, id, worker_id, kind, variants, first_seen_at, last_seen_at, sample_job_id)"
    f" SELECT %(tenant)s, {_ID}, '', '', '{{x}}', {_AT}, {_AT}, {_ID}",
    "error_days": f"SELECT %(tenant)s, {_ID}, {_AT}, 1",
    "received_keys": f"SELECT %(tenant)s, {_ID}, '', {_ID}, {_AT}",
    "former_subscriptions": "(tenant_id, id, event_type, worker_id, priority, created_by, created_at,"
    f" updated_at, since_version, until_version, ended_at)"
    f" SELECT %(tenant)s, {_ID}, 'a', '', 5, '', {_AT}, {_AT}, 1, 2, {_AT}",
    "notice_mails": f"SELECT %(tenant)s, {_AT}::date, 1",
    "rate_states": f"SELECT %(tenant)s || %(age)s::text, {_AT}, {_AT}",
}
#: Nodes belong to no tenant.
_NODE = (
    "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes, stopped_at)"
    f" SELECT {_ID}, '', '', 1, '', '{{}}', '{{}}', 1, {_AT}"
)
_BOUND = f"SELECT ava_first_uuid({_AT})::text"


@pytest.fixture
def stored(database_settings: Settings) -> Iterator[Backlog]:
    """A database whose first partitions end between the oldest rows and the old ones, and that has no later ones."""
    with open_backlog(database_settings) as stored:
        ((bound,),) = stored.run(_BOUND, age=(_OLD + _OLDEST) / 2)
        for table in partitions.TABLES:
            stored.run(f"ALTER TABLE {table} DETACH PARTITION {table}_first")
            # The lines of the oldest jobs would stay until their partition is dropped.
            if table != partitions.LOGS:
                values = f"FROM (MINVALUE) TO ('{bound}')"
                stored.run(f"ALTER TABLE {table} ATTACH PARTITION {table}_first FOR VALUES {values}")
        limits = "INSERT INTO tenant_limits (tenant_id, retention_days, updated_by) VALUES (%(tenant)s, 1, 'usr_op')"
        stored.run(limits, tenant=_SHORT)
        yield stored


def _fill(stored: Backlog, age: float, *, is_complete: bool = True) -> None:
    rows = _ROWS | (_FURTHER_ROWS if is_complete else {})
    # One transaction, so that the ids of rows that belong together are equal.
    with stored.database.transaction() as connection:
        for tenant, (table, columns) in product(_TENANTS, rows.items()):
            connection.exec_driver_sql(f"INSERT INTO {table} {columns}", {"tenant": tenant, "age": age})
        if is_complete:
            connection.exec_driver_sql(_NODE, {"age": age})


def _forget_idle_rates(database: Database) -> Callable[[], object]:
    queue = FairQueue(database, max_size=1, is_fair=True, tenant_max_running=None)
    return lambda: Admission(database, queue, node_dead_seconds=15, tenant_max_running=None).poll([], lambda *_: True)


def _delete_old(stored: Backlog, database: Database, *, days: float) -> None:
    """Let the duties run until they find nothing."""
    jobs = retention.of_jobs(database, retention_days=days, audit_days=days, silent_nodes=list)
    events = retention.of_events(database, retention_days=days, event_days=days)
    for run_once in (jobs.run_once, events.run_once):
        while insist(lambda run_once=run_once: run_once(0)):
            pass
        settle(stored.database)


def test_exactly_the_old_rows_are_deleted(stored: Backlog, cuts: CommitCuts) -> None:
    _fill(stored, _YOUNG)
    young = read_tables(stored.database)
    _fill(stored, _MIDDLE, is_complete=False)
    retained = read_tables(stored.database)
    for age in (_OLD, _OLDEST):
        _fill(stored, age)
    with through(cuts) as database:
        insist(_forget_idle_rates(database))
        settle(stored.database)
        _delete_old(stored, database, days=30)
        assert read_tables(stored.database) == retained
        # A retention below a day does not wait for partitions.
        _delete_old(stored, database, days=0.5)
        assert read_tables(stored.database) == young
        _measure(stored, database)
    assert {name for name, reason in ELSEWHERE.items() if reason is RETENTION} - cut_statements(cuts) == set()


def _measure(stored: Backlog, database: Database) -> None:
    """Compare the sums of stored bytes that a pass writes through the proxy with those of another pass."""
    sums = "SELECT tenant_id, stored_bytes FROM tenant_storage ORDER BY 1"
    StoredBytes(stored.database).run_once(0)
    expected = stored.run(sums)
    stored.run("UPDATE tenant_storage SET stored_bytes = 0, measured_at = now() - interval '1 hour'")
    stored.run("INSERT INTO tenant_storage VALUES ('ten_gone', 1, now() - interval '1 hour')")
    duty = StoredBytes(database)
    assert insist(lambda: duty.run_once(0)) == len(_TENANTS)
    settle(stored.database)
    assert stored.run(sums) == expected
    assert all(size > 0 for _, size in expected)
