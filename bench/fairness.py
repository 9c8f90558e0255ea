"""Measure fair queueing: the wait of one job behind another tenant's backlog, the shares, and the cost of a poll."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ava.broker.celery_app import make_app
from ava.broker.publisher import Publisher
from ava.dispatcher.feed.window import WindowFeed
from ava.domain.access.caller import Caller, Role
from ava.domain.jobs.job import JobSpec
from ava.settings import load
from ava.store.engine.database import Database as StoreDatabase
from bench.load import percentile
from bench.servers import processes, until
from bench.systems import Ours
from bench.table import Figures

_NAP_SECONDS = 0.05
_NAP = f'{{"seconds":{_NAP_SECONDS}}}'
_WAIT = """
INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts)
SELECT %s || CASE WHEN %s > 1 THEN (n %% %s)::text ELSE '' END, 'wkr_nap', 'manual', 5, 'default', %s, 'usr_bench', 1
FROM generate_series(1, %s) AS n
"""


def single_job(system: Ours, *, waiting: int, tries: int, children: int) -> Figures:
    """Measure the wait of a tenant's only job while another tenant has `waiting` jobs of 50 ms."""
    system.clear()
    _add(system, "ten_a", waiting)
    system.database.value("VACUUM (ANALYZE) jobs")
    started: list[str] = []
    with running(system, children):
        until(lambda: system.finished_of("ten_a") > 4 * children)
        for _ in range(tries):
            ((job,), _) = system.jobs.trigger(caller("ten_b"), [JobSpec(worker_id="wkr_nap", input_json=_NAP)])
            started.append(job.id)
            _await_finished(system, "ten_b", len(started))
            # Each time at another point of the feed's interval.
            time.sleep(0.3 + 0.013 * (len(started) % 10))
        assert system.database.value("SELECT count(*) FROM jobs WHERE status = 'queued'") > 0
    rows = system.database.rows(
        "SELECT extract(epoch FROM started_at - created_at)::float8 * 1000 FROM jobs WHERE tenant_id = 'ten_b'"
    )
    waits = [row[0] for row in rows]
    return {"p50 ms": percentile(waits, 50), "p99 ms": percentile(waits, 99), "most ms": max(waits)}


def shares(system: Ours, *, seconds: float) -> Figures:
    """Measure shares of three tenants with weights 1, 2 and 4; and Jain's index of 50 tenants with Zipf backlogs."""
    system.clear()
    system.database.value("DELETE FROM tenant_limits")
    for weight in (1, 2, 4):
        _add(system, f"ten_w{weight}", round(200 * seconds))
        system.database.value(
            "INSERT INTO tenant_limits (tenant_id, weight, updated_by) VALUES (%s, %s, 'usr_bench')",
            f"ten_w{weight}",
            weight,
        )
    with running(system, 4):
        time.sleep(seconds)
    spent = _spent(system)
    whole = sum(spent.values())
    system.database.value("DELETE FROM tenant_limits")
    found = {f"share of weight {w}, of its due": spent[f"ten_w{w}"] / whole * 7 / w for w in (1, 2, 4)}
    found["farthest from its due %"] = 100 * max(abs(share - 1) for share in found.values())
    system.clear()
    # Zipf, but each large enough for an equal share.
    least = round(seconds * 4 / _NAP_SECONDS / 50 * 1.5)
    for number in range(1, 51):
        _add(system, f"ten_z{number}", least + 5000 // number)
    with running(system, 4):
        time.sleep(seconds)
    values = list(_spent(system).values())
    return found | {"Jain's index of 50 tenants": sum(values) ** 2 / (50 * sum(value**2 for value in values))}


def polls(system: Ours, *, waiting: int, tenants: int, seconds: float) -> Figures:
    """Measure the feed while a million jobs of 10,000 tenants wait: its polls, and its share of a core."""
    system.clear()
    _add(system, "ten_", waiting, tenants)
    system.database.value("VACUUM (ANALYZE) jobs")
    settings = load(system.environ)
    database, publisher = StoreDatabase(settings.database_url, name="bench"), Publisher(make_app(settings), settings)
    feed = WindowFeed(database, publisher, window=2000, node_dead_seconds=14)
    # The first poll of a process connects to the servers.
    feed.run_once(0)
    took: list[float] = []
    began, cpu = time.monotonic(), 0.0
    while time.monotonic() - began < seconds:
        # Simulate two processes with jobs of 50 ms.
        system.database.value(
            "UPDATE jobs SET status = 'cancelled', completed_at = now(), cancel_requested_at = now(),"
            " stop_status = 'cancelled',"
            " cancelled_by = 'usr_bench' WHERE id IN (SELECT id FROM jobs WHERE queue = 'default' AND priority = 5"
            " AND status = 'queued' AND waits_for IS NULL AND published_at IS NOT NULL ORDER BY published_at LIMIT 4)"
        )
        # Do not count the update above as the feed's.
        start, cpu_before = time.perf_counter(), time.thread_time()
        feed.run_once(0)
        took.append((time.perf_counter() - start) * 1000)
        cpu += time.thread_time() - cpu_before
        time.sleep(feed.next_poll_seconds())
    share = cpu / (time.monotonic() - began)
    publisher.close()
    database.close()
    return {"poll p50 ms": percentile(took, 50), "poll p99 ms": percentile(took, 99), "% of a core": share * 100}


def _await_finished(system: Ours, tenant: str, jobs: int) -> None:
    until(lambda: system.finished_of(tenant) == jobs, every=0.01)


def _add(system: Ours, tenant: str, jobs: int, tenants: int = 1) -> None:
    system.database.value(_WAIT, tenant, tenants, tenants, _NAP, jobs)


def _spent(system: Ours) -> dict[str, float]:
    """Return the seconds of processor time that each tenant has used."""
    return dict(
        system.database.rows(
            "SELECT tenant_id, sum(extract(epoch FROM coalesce(completed_at, now()) - started_at))::float8 FROM jobs"
            " WHERE started_at IS NOT NULL GROUP BY tenant_id"
        )  # type: ignore[arg-type]
    )


def caller(tenant: str) -> Caller:
    return Caller(tenant_id=tenant, user_id="usr_bench", role=Role.TENANT_SYSTEM_ADMIN)


@contextmanager
def running(system: Ours, children: int) -> Iterator[list[int]]:
    """Run a dispatcher and a node; the block gets their process ids."""
    system.database.value("DELETE FROM nodes")
    worker = ["ava.cli.main", "worker", "-c", str(children)]
    with processes(system.folder, system.environ, ["ava.cli.main", "dispatcher"], worker) as pids:
        until(lambda: system.database.value("SELECT count(*) FROM nodes WHERE stopped_at IS NULL"))
        yield pids
